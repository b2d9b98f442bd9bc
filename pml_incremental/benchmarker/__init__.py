"""What powerful-benchmarker 0.9.33 needs to learn several tasks in a row with our classes."""
