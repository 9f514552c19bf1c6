"""The staging method `streamer`: a WebSocket straight to the job."""
