"""The bundled models, trained from scratch on a synthetic task: problems, network, loops, figures."""
