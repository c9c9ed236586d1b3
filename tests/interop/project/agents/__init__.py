"""The agents that the interop suite has the runner start."""
