"""The runtime whose instances are containers of this machine's Docker daemon."""
