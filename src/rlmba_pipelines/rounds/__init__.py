"""Time: rounds unrolled into one pipeline, what is committed, who holds the lock, and the driver."""
