"""Problems between ops and a change to a campaign."""

from grab_service.problems.problem import Problem, Text, Variant

_STATES = {
    "draft": Text("草稿", "a draft"),
    "scheduled": Text("已排期", "scheduled"),
    "paused": Text("已暂停", "paused"),
    "closed": Text("已关闭", "closed"),
    "settled": Text("已结清", "settled"),
    "archived": Text("已归档", "archived"),
    "cancelled": Text("已取消", "cancelled"),
}

OF_OPS: tuple[Problem, ...] = (
    Problem(
        "alarm-not-found",
        404,
        title=Text("没有这个告警", "No such alarm"),
        detail=Text("没有找到这个告警。", "There is no such alarm."),
        explanation=Text(
            "请用告警列表里的 alarm_id。",
            "Take an alarm_id of the list of alarms.",
        ),
    ),
    Problem(
        "member-not-found",
        404,
        title=Text("没有这个会员", "No such member"),
        detail=Text("没有找到这个会员。", "There is no such member."),
        explanation=Text(
            "会员由主应用登录时登记，或由名册导入。请检查会员编号。",
            "Members are registered by the host app when they sign in, or by an import. Please check the id.",
        ),
    ),
    Problem(
        "token-not-found",
        404,
        title=Text("没有这个凭证", "No such token"),
        detail=Text("没有找到这个登录凭证。", "There is no such token of ops."),
        explanation=Text(
            "命令行生成的凭证第一次使用后才会出现在列表里；过期 30 天后不再保留。请用列表里的 token_id。",
            "A token made on the command line is on record from its first use on, and for 30 days after it expired. Take a "
            "token_id of the list.",
        ),
    ),
    Problem(
        "preflight-failed",
        409,
        title=Text("发布前检查未通过", "Preflight failed"),
        detail=Text("发布前检查没有通过，请先处理列出的问题。", "The campaign would go wrong; mend what is listed first."),
        explanation=Text(
            "发布前会检查所有会出错的地方，例如截止时间已过、券码不够。"
            "findings 里级别为 error 的必须处理，warning 只是提醒。活动没有发布，仍是草稿。",
            "Before a campaign is armed, everything that would go wrong is looked for: a closing in the past, too few "
            "codes. Findings of level error must be mended, warnings are advice. The campaign is still a draft.",
        ),
    ),
    Problem(
        "idempotency-key-reused",
        409,
        title=Text("防重复标识已用过", "Idempotency-Key used before"),
        detail=Text(
            "这个 Idempotency-Key 已经用于别的会员或活动，请换一个。",
            "This Idempotency-Key stands for another member or campaign; take a new one.",
        ),
        explanation=Text(
            "一个 Idempotency-Key 只代表一次补发：同一个活动、同一个会员。重发用原来的，另一次补发请换新的。什么都没有发出。",
            "A key stands for one claim that is made good: one campaign, one member, for good. A repeat carries the same key, "
            "another claim a new one. Nothing was given.",
        ),
    ),
    Problem(
        "stock-changed",
        409,
        title=Text("库存已被改过", "Stock changed"),
        detail=Text("库存刚被别人改过，请核对后重新提交。", "Somebody changed the stock; look again and repeat."),
        variants=(
            Variant(
                Text(
                    "库存已经是 {total} 份，和你提交的原值不同，请核对后重新提交。",
                    "The stock is {total} by now, not what you expected; look again and repeat.",
                )
            ),
        ),
        explanation=Text(
            "改库存时要写明原来的总数，和现在的不一致就不改，避免两个人各改各的。请读取当前总数，确认后再提交。",
            "A change of stock names the total it starts from and does nothing when that is no longer so; thus two people "
            "cannot undo each other. Read the total, think again, repeat.",
        ),
    ),
    Problem(
        "below-issued",
        409,
        title=Text("低于已发放数量", "Below what is issued"),
        detail=Text("新的总数低于已经发出去的份数。", "The new total is below what has already been given out."),
        variants=(
            Variant(
                Text(
                    "已经发出 {issued} 份，总数不能低于它。",
                    "{issued} units have been given out; the total cannot be below that.",
                )
            ),
        ),
        explanation=Text(
            "已经发给会员的不能收回，所以总数不能改到已发放的份数以下。想停止发放，可以暂停或关闭活动。",
            "What members hold is not taken back, so the total cannot go below it. To stop giving out, pause or close the "
            "campaign.",
        ),
    ),
    Problem(
        "wrong-state",
        409,
        title=Text("当前状态不能这样操作", "Not in this state"),
        detail=Text("活动当前的状态不能进行这项操作。", "The campaign's state does not allow this."),
        variants=(
            Variant(
                Text("活动{state}，不能进行这项操作。", "The campaign is {state}, which does not allow this."),
            ),
        ),
        words={"state": _STATES},
        explanation=Text(
            "活动按草稿、已排期、暂停、关闭、结清、归档的顺序走，每一步只允许某些操作，例如已发布的活动不能再发布一次。请刷新后看看当前状态。",
            "A campaign goes from draft through scheduled, paused and closed to settled and archived, and each state allows "
            "some things only; what is published cannot be published again, for instance. Look at its state.",
        ),
    ),
    Problem(
        "too-few-codes",
        409,
        title=Text("券码不够", "Too few codes"),
        detail=Text("导入的券码少于要发放的份数，请先补充。", "There are fewer codes than units; import more first."),
        variants=(
            Variant(
                Text(
                    "需要 {needed} 个券码，现在有 {available} 个，请先补充。",
                    "{needed} codes are needed and there are {available}; import more first.",
                )
            ),
        ),
        explanation=Text(
            "这个活动使用第三方的券码，每一份都要有一个。请导入足够的券码，再发布或增加库存。",
            "This campaign gives out codes of a third party, one for each unit. Import enough of them before it is armed or "
            "its stock is raised.",
        ),
    ),
)
