"""Recipes of `mull train RECIPE.yaml`: one file a family, each with what its YAML file may say."""
