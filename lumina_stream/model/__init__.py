"""What a trace is: pure values and machines. No I/O, no threads, no clock reads, no configuration."""
