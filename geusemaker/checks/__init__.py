"""Pre-flight checks: what must hold before anything is changed. One function each, all of the same shape."""
