"""pvc as a process, seen from outside: these tests import nothing of it."""
