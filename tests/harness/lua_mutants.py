"""Faults of one line each that the walks and the state machine must find in the commands; those of rules are in `tests/rules/`.

A check that cannot fail proves nothing. A new rule comes with the mutant that leaves it out.
"""

from dataclasses import dataclass
from typing import Final

from grab_service.cell.scripts import ScriptSources
from tests.harness.every_command import CALLS


@dataclass(frozen=True, slots=True)
class Mutant:
    """A guard, and the one line that takes it away; `written` is in the script exactly once."""

    guard: str
    script: str
    written: str
    instead: str

    def __str__(self) -> str:
        return f"{self.script}: {self.guard}"

    def of(self, sources: ScriptSources) -> ScriptSources:
        """The rules with this fault in them."""
        source = sources.by_name[self.script]
        assert source.count(self.written) == 1, f"{self}: {self.written!r} is there {source.count(self.written)} times"
        return ScriptSources(sources.by_name | {self.script: source.replace(self.written, self.instead)}, sources.digest)


MUTANTS: Final = (
    # The cell's life
    *(Mutant("the nonce of the arming", script, "cell[3] ~= NONCE or ", "") for script in CALLS),
    *(Mutant("the epoch", script, "cell[1] ~= ARGV[1] or ", "") for script in CALLS),
    Mutant("what the caller has seen", "grab", " or tonumber(cell[2]) < tonumber(ARGV[2])", ""),
    Mutant("what the caller has seen", "explain", " or tonumber(cell[2]) < tonumber(ARGV[2])", ""),
    Mutant("nothing left is a phase", "explain", "campaign.available < 1 and 'sold_out' or 'open'", "'open'"),
    Mutant("what the caller has seen", "tail", " or tonumber(cell[2]) < tonumber(ARGV[2])", ""),
    # One claim to a member, or to a key
    Mutant("the claim held already", "grab", "elseif campaign.limit_per_member == 1 and holding then", "elseif false then"),
    Mutant("a member twice in a batch", "grab", "holding = planned_holdings[member_id] or holding", ""),
    Mutant("a key twice in a batch", "grab", "(planned_bound[binding] or bound)", "bound"),
    Mutant("a key is bound", "grab", "    redis.call('HSET', KEYS[4], unpack(bound))", ""),
    Mutant("a key stays bound", "grab", "elseif bound then", "elseif bound and holding then"),
    Mutant("a key is asked for", "grab", "if campaign.limit_per_member > 1 and key == '' then", "if false then"),
    Mutant(
        "a claim given back says so",
        "return_unit",
        "given.at_ms, ARGV[5], given.unit_no",
        "given.at_ms, given.state, given.unit_no",
    ),
    Mutant("a code that went back is not named", "return_unit", "campaign.code_back ~= '' and '' or given.code", "given.code"),
    Mutant(
        "the same claim is told again",
        "grab",
        "'[^\\n]+') -- the first",
        "'[^\\n]+') .. '0' -- the first",
    ),
    # The window
    Mutant("the clock is cut, not rounded up", "grab", "math.floor(time[2] / 1000)", "math.ceil(time[2] / 1000)"),
    # The stock
    Mutant(
        "a unit given again is taken from the free",
        "grab",
        "    redis.call('ZREM', KEYS[5], unpack(campaign.free_units, 1, campaign.units_reused))",
        "",
    ),
    Mutant(
        "units that came back go first",
        "grab",
        "campaign.issued > campaign.active and redis.call('ZRANGE'",
        "false and redis.call('ZRANGE'",
    ),
    Mutant(
        "a code is given once",
        "grab",
        "redis.call('LTRIM', KEYS[6], campaign.codes_taken, -1)",
        "redis.call('LTRIM', KEYS[6], 0, -1)",
    ),
    Mutant("as many free units as asked for", "grab", "KEYS[5], 0, batch - 1)", "KEYS[5], 0, batch - 2)"),
    Mutant("as many codes as asked for", "grab", "KEYS[6], 0, batch - 1)", "KEYS[6], 0, batch - 2)"),
    # Eligibility
    # The log
    Mutant("every claim moves the log on", "grab", "  redis.call('HSET', KEYS[1], 'seq', last_seq)\n", ""),
    Mutant(
        "an entry begins where the last one ended",
        "grab",
        "string.format('%.0f', first_seq), last_seq, 'version'",
        "string.format('%.0f', first_seq - 1), last_seq, 'version'",
    ),
    # Giving back
    Mutant("given back once", "return_unit", "if returned_seq then", "if false then"),
    Mutant("that it came back is kept", "return_unit", "redis.call('HSET', KEYS[5], ARGV[4], seq)", ""),
    Mutant("only the claim that is held", "return_unit", "if fields and fields.seq == ARGV[4] then", "if true then"),
    Mutant("the unit is free again", "return_unit", "redis.call('ZADD', KEYS[4], given.unit_no, given.unit_no)", ""),
    Mutant("the code goes back with its unit", "return_unit", "  redis.call('RPUSH', KEYS[6], campaign.code_back)", ""),
    Mutant("the log says which code went back", "return_unit", "'code', campaign.code_back)", "'code', '')"),
    # What ops make good
    Mutant("once for a key", "make_good", "if bound then", "if false then"),
    Mutant("a key of ops is bound", "make_good", "redis.call('HSET', KEYS[4], ARGV[3] .. '\\t' .. ARGV[4], record)", ""),
    Mutant("nothing of a cancelled campaign", "make_good", "elseif campaign.state == 'cancelled' then", "elseif false then"),
    Mutant("nothing to strangers", "make_good", "ARGV[3]), 'left', ''", "ARGV[3]), 'active', ''"),
    Mutant("nothing to those who left", "make_good", "if status == 'left' then", "if not member then"),
    Mutant("no unit beyond the stock", "make_good", "if left < 1 then", "if left < 0 then"),
    Mutant("beyond the stock one is left", "make_good", "total + beyond - campaign.active", "total - campaign.active"),
    Mutant(
        "a code of a unit still to grant", "make_good", "redis.call('LLEN', KEYS[6]) < left", "redis.call('LLEN', KEYS[6]) < 1"
    ),
    Mutant("a unit that came back is given", "make_good", "redis.call('ZRANGE', KEYS[5], 0, 0) or {}", "{}"),
    Mutant("it is free no more", "make_good", "  redis.call('ZREM', KEYS[5], unpack(campaign.free_units))", ""),
    Mutant("its code is free no more", "make_good", "  redis.call('LTRIM', KEYS[6], 1, -1)", ""),
    Mutant("an ordinal of its own", "make_good", "claim_next_ordinal(wish.holding or '')", "1"),
    Mutant("what the member holds stays", "make_good", "ARGV[3], planned_holdings[ARGV[3]])", "ARGV[3], record)"),
    Mutant("its source", "make_good", "'\\tsource=make_good')", "'')"),
    Mutant("the total is raised", "make_good", "redis.call('HSET', KEYS[2], 'releases', releases)", ""),
    Mutant("raised by one", "make_good", "quantities[newest_open] + 1", "quantities[newest_open] + 2"),
    Mutant("the log says that the total was raised", "make_good", "'releases', releases)\nredis", "'releases', '')\nredis"),
    Mutant(
        "a holder of several is told of the first",
        "grab",
        "string.match(holding, '[^\\n]+') -- the first",
        "holding -- the first",
    ),
    # Ops
    Mutant("compare and set", "set_stock", "elseif total ~= expected then", "elseif false then"),
    Mutant("units in hands", "set_stock", "elseif wanted < lowest then", "elseif wanted < facts[5] - 1 then"),
    Mutant("codes for more units", "set_stock", "redis.call('LLEN', KEYS[4]) < wanted - facts[5]", "false"),
    Mutant("over is over", "set_stock", " or now_ms >= tonumber(facts[3]) then", " then"),
    Mutant(
        "no stock after a cancellation", "set_stock", "if state == 'closed' or state == 'cancelled'", "if state == 'closed'"
    ),
    Mutant("a release is open from its moment on", "set_stock", "if tonumber(at_ms) <= now_ms", "if tonumber(at_ms) < now_ms"),
    Mutant("as many releases as there may be", "publish_campaign", "#written <= 50", "#written <= 49"),
    Mutant("a code that was generated stays named", "return_unit", "campaign.code_back ~= '' and ''", "''"),
    Mutant("more joins the newest open release", "set_stock", "    newest_open = i\n", "    newest_open = 1\n"),
    Mutant("less comes off the last release", "set_stock", "for i = #quantities, 1, -1 do", "for i = 1, #quantities do"),
    Mutant("units above the total are forgotten", "set_stock", "  redis.call('ZREM', KEYS[3], issued)", ""),
    Mutant("closed stays closed", "set_state", "if state == 'closed' or state == 'cancelled' or", "if state == 'cancelled' or"),
    Mutant("after closing time nothing is paused", "set_state", " or (ended and target ~= 'closed') then", " then"),
    Mutant("the state is kept", "set_state", "redis.call('HSET', KEYS[2], unpack(changes))", ""),
    Mutant("no gap in the codes", "load_codes", "if first_position > loaded + 1 then", "if first_position > loaded + 2 then"),
    Mutant("no code twice", "load_codes", "4 + loaded + 1 - first_position", "4"),
    Mutant("published once", "publish_campaign", "if facts[1] then", "if false then"),
    Mutant("codes for every unit", "publish_campaign", "codes_loaded < total then", "codes_loaded + 1 < total then"),
    Mutant("newer records only", "publish_members", "before < version then", "before <= version then"),
    Mutant("the newest of one call", "publish_members", "planned[wanted[i]] or (held", "(held"),
    Mutant(
        "the version never falls", "publish_members", "math.max(tonumber(cell[4] or 0), tonumber(ARGV[2]))", "tonumber(ARGV[2])"
    ),
    Mutant("a change of union is named", "publish_members", "      org_changed[#org_changed + 1] = wanted[i]\n", ""),
    Mutant("only a change of union is named", "publish_members", "member_union(held[i]) ~= member_union(record)", "true"),
    Mutant(
        "a member who was not there is not named",
        "publish_members",
        "if held[i] and member_union",
        "if not held[i] or member_union",
    ),
    # Counts
    Mutant("a worker that is silent for a minute is taken out", "note_counts", ">= SILENT_MS", "> SILENT_MS"),
    Mutant("a worker that still speaks stays", "note_counts", "now_ms - (tonumber(", "now_ms + (tonumber("),
    Mutant("no entry without counts", "note_counts", "if ARGV[3] ~= '' then", "if true then"),
    # Looking
    Mutant("the tail begins after", "tail", "'(' .. ARGV[2]", "ARGV[2]"),
    Mutant("all records of a member", "read_claims", "redis.call('HGET', KEYS[i], ARGV[2]) or ''", "''"),
)
