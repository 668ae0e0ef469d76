"""Where sessions are kept: one module for each store."""
