"""The common part of all calls: bodies, answers, problems, paging, OpenAPI. Knows no feature."""
