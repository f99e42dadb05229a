"""`mull calibrate`: measures which strategy is worth its tokens on which problems, and writes it down."""
