"""What is reported: classification, calibration, fairness, learning curves and the statistics of their differences."""
