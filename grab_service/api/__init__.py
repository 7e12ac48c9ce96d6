"""The HTTP calls of members, ops and machines, except the grab itself."""
