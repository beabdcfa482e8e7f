"""What a call of a language model means: its request, its answer, its stream."""
