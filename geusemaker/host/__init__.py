"""The way to the instance: the agent as a bundle, the commands that install and run it, and the SSH client."""
