// How would one write the grab with Node? fastify, ioredis, one EVALSHA a request.
import { createHmac, randomInt, timingSafeEqual } from "node:crypto";
import Fastify from "fastify";
import Redis from "ioredis";

const env = process.env;
const prefix = `grab:{${env.BENCH_CELL}}:`;
const alphabet = "ABCDEFGHJKMNPQRSTVWXYZ23456789";
const day_ms = 86_400_000;
const redis = new Redis({
  host: "127.0.0.1",
  port: Number(env.BENCH_REDIS_PORT),
  password: env.BENCH_REDIS_PASSWORD || undefined,
});
const app = Fastify({ logger: false, keepAliveTimeout: 75_000 });

function memberOf(authorization = "") {
  const token = authorization.startsWith("Bearer ") ? authorization.slice(7) : "";
  const dot = token.lastIndexOf(".");
  const payload = token.slice(0, dot);
  const [version, kid, expiresAt, member] = payload.split(".");
  const mac = createHmac("sha256", env.BENCH_SECRET)
    .update(`grab-pass\0${env.BENCH_CELL}\0${payload}`)
    .digest()
    .subarray(0, 18)
    .toString("base64url");
  const given = Buffer.from(token.slice(dot + 1));
  if (version !== "2" || kid !== env.BENCH_KID || given.length !== mac.length || !timingSafeEqual(given, Buffer.from(mac))) return null;
  return Number(expiresAt) > Date.now() / 1000 ? member : null;
}

function newCode() {
  let code = "";
  for (let i = 0; i < 12; i++) code += alphabet[randomInt(alphabet.length)];
  return code;
}

app.post("/v1/campaigns/:id/claims", async (request, reply) => {
  const member = memberOf(request.headers.authorization);
  if (member === null) return reply.code(401).type("application/problem+json").send({ code: "pass-invalid", status: 401 });
  const id = request.params.id;
  const campaign = `${prefix}campaign:${id}`;
  const keys = [`${prefix}cell`, campaign];
  for (const part of ["claims", "bindings", "free", "codes"]) keys.push(`${campaign}:${part}`);
  keys.push(`${prefix}members`, `${prefix}log`);
  const key = request.headers["idempotency-key"] ?? "";
  const answer = await redis.evalsha(
    env.BENCH_SHA, keys.length, ...keys, env.BENCH_EPOCH, 0, "b", id, member, key, newCode());
  const [outcome, ...fields] = answer[7].split("\t");
  if (outcome !== "won" && outcome !== "held") {
    return reply.code(409).type("application/problem+json")
      .send({ type: `/problems/${outcome}`, title: outcome, status: 409, code: outcome.replaceAll("_", "-") });
  }
  const record = Object.fromEntries(fields.slice(1).map((field) => field.split(/=(.*)/s).slice(0, 2)));
  const { seq, epoch, unit_no: unit, at_ms: grantedAt, code } = record;
  const claim = `${id}.${epoch}.${seq}`;
  const granted = new Date(Number(grantedAt));
  return reply.code(outcome === "won" ? 201 : 200).header("location", `/v1/claims/${claim}`).send({
    claim_id: claim,
    campaign_id: id,
    member_id: member,
    state: "fulfilled",
    unit_no: Number(unit),
    seq: Number(seq),
    granted_at: granted.toISOString(),
    granted_at_ms: Number(grantedAt),
    voucher: {
      voucher_id: `v.${claim}`,
      code,
      state: "active",
      valid_from: granted.toISOString(),
      valid_until: new Date(Number(grantedAt) + Number(env.BENCH_VALID_DAYS) * day_ms).toISOString(),
    },
  });
});

await app.listen({ host: "127.0.0.1", port: Number(env.BENCH_PORT), backlog: 8192 });
