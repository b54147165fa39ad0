"""What a process gives up for good, so that whoever takes it over gains little. Linux only."""
