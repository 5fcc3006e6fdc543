"""What the builders of data sets share: packages, drawings, pictures, speech, splits and files."""
