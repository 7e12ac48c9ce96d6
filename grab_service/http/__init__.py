"""What all calls have in common: bodies, answers, problems, paging, OpenAPI. Knows no feature."""
