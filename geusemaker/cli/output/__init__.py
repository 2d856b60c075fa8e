"""What the command line shows: pure rendering to lines, and the few places that write them."""
