"""The peers: servers that do the grab's job in other ways, with the same pass, the same script and the same Redis.

Each reads the same variables: BENCH_PORT, BENCH_REDIS_PORT, BENCH_REDIS_PASSWORD, BENCH_CELL, BENCH_EPOCH, BENCH_SHA (of the
grab script), BENCH_KID and BENCH_SECRET (of the passes), BENCH_VALID_DAYS (of the vouchers).
"""
