"""Load tools: a stampede generator, a verifier of its receipts, and locust users.

All of them talk HTTP and import neither the service nor the bench, so they notice a service that drifts from its contract.
"""
