"""Files that a package holds as they stand here, and templates of those that depend on the build."""
