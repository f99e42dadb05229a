"""Train the bundled models from scratch: task, tokenizer, solver, verifiers, evaluation."""
