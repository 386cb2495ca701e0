"""The logging sample, a module for each subject. Importing one registers its endpoints."""
