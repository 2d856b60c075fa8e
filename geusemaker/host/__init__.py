"""The instance: the agent that runs there, the commands that start it, and the SSH client that talks to it."""
