"""What does a crowd do to the service, and was everyone told the truth?

A stampede generator, a verifier of its receipts and locust users. All of it talks HTTP like anyone else and imports
nothing of the service.
"""
