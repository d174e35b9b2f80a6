"""Read this to understand the paper: geometry, messages, view, reading, flows, runner, errors."""
