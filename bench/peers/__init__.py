"""What else would one pick? Servers that do the grab's job in other ways, for the bench: same pass, same script, same Redis.

Each reads the same variables: BENCH_PORT, BENCH_REDIS_PORT, BENCH_REDIS_PASSWORD, BENCH_CELL, BENCH_EPOCH, BENCH_SHA (of the
grab script), BENCH_KID and BENCH_SECRET (of the passes), BENCH_VALID_DAYS (of the vouchers).
"""
