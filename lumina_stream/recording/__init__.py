"""Recording inside the user's program: spans, context, values and the queue. No network, no threads."""
