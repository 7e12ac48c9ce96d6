"""The HTTP server of one worker: connections, framing, the lane of grabs, worker processes and their supervisor."""
