"""Problems between a member and a unit, a claim or a voucher."""

from grab_service.problems.problem import Problem, Text, Variant

OF_GRABS: tuple[Problem, ...] = (
    Problem(
        "campaign-not-found",
        404,
        title=Text("没有这个活动", "No such campaign"),
        detail=Text("没有找到这个活动，可能还没有发布。", "There is no such campaign; it may not be published yet."),
        explanation=Text(
            "链接里的活动编号不存在，或者活动还没有发布。请回到活动列表，从那里进入。",
            "The campaign in the address does not exist, or has not been published yet. Go back to the list of campaigns "
            "and open it from there.",
        ),
    ),
    Problem(
        "cancelled",
        410,
        title=Text("活动已取消", "Cancelled"),
        detail=Text("很抱歉，这次活动取消了。", "We are sorry: this campaign was cancelled."),
        explanation=Text(
            "主办方取消了这次活动，不再发放。已经用掉的积分和付过的钱会退还。如有疑问，请联系你所在的工会。",
            "The organisers cancelled this campaign; nothing more will be given out. Points and money that were taken are "
            "given back. If anything is unclear, ask your union.",
        ),
    ),
    Problem(
        "ended",
        410,
        title=Text("活动已结束", "Ended"),
        detail=Text("活动已经结束了，下次早点来。", "This campaign is over. See you at the next one."),
        explanation=Text(
            "活动的截止时间已过，或主办方已经收场。如果你之前抢到了，可以在“我的福利”里看到。",
            "The closing time has passed, or the organisers have closed it. If you won before, you find it among your claims.",
        ),
    ),
    Problem(
        "not-open-yet",
        409,
        title=Text("还没开抢", "Not open yet"),
        detail=Text("还没到开抢时间，请等倒计时结束再来。", "It has not opened yet; please wait for the countdown to end."),
        explanation=Text(
            "活动按服务器的时间准点开始，提前点不会更快，也不会占到名额。页面上的倒计时已经和服务器对过时间，归零后再点就可以。",
            "The campaign opens by the server's clock. Asking earlier neither helps nor reserves anything. The countdown "
            "on the page follows that clock: ask when it reaches zero.",
        ),
    ),
    Problem(
        "paused",
        409,
        title=Text("活动暂停中", "Paused"),
        detail=Text("活动暂停了，恢复后可以继续抢。", "This campaign is paused; you can go on when it resumes."),
        explanation=Text(
            "主办方暂时停止了发放，剩下的份数都还在。请稍后回来看看。已经抢到的不受影响。",
            "The organisers have paused it. What was left is still there. Please look again later. What was already won "
            "is not affected.",
        ),
    ),
    Problem(
        "member-unknown",
        403,
        title=Text("还不是登记会员", "Not a registered member"),
        detail=Text(
            "没有查到你的会员登记，请先绑定会员身份。", "We have no registration for you; please bind your membership first."
        ),
        explanation=Text(
            "活动只面向已登记的工会会员。请在小程序或 App 里绑定会员身份；绑定后马上就能参加。"
            "如果你已经绑定，请联系所在的基层工会核对信息。",
            "The campaign is for registered union members. Bind your membership in the app; it counts at once. If you "
            "have done so already, ask your grassroots union to check your details.",
        ),
    ),
    Problem(
        "member-blocked",
        403,
        title=Text("暂时不能参加", "Not allowed at present"),
        detail=Text(
            "你的账号目前不能参加活动，请联系所在工会。", "Your account cannot take part at present; please ask your union."
        ),
        variants=(
            Variant(
                Text(
                    "你的账号暂时不能参加活动，到期会自动恢复。",
                    "Your account cannot take part for the time being; the block ends by itself.",
                ),
                when=("until",),
            ),
        ),
        explanation=Text(
            "账号处于停用或限制期内，所以不能参加。如果写明了恢复时间，到时会自动恢复。有异议请联系所在的基层工会。",
            "The account is suspended, or blocked for a time, and cannot take part. Where a time is given, the block ends "
            "by itself. If you think this is wrong, talk to your grassroots union.",
        ),
    ),
    Problem(
        "not-eligible",
        403,
        title=Text("不在活动范围内", "Not eligible"),
        detail=Text("这次活动有参加条件，你暂时不符合。", "This campaign has conditions that you do not meet."),
        variants=(
            Variant(Text("你暂时不符合这次活动的条件：{failed_rules}。", "You do not meet a condition: {failed_rules}.")),
        ),
        words={
            "failed_rules": {
                "orgs": Text("限指定单位的会员", "it is for members of certain unions"),
                "tags_any": Text("限指定身份的会员", "it is for members with a certain title or role"),
                "birthday_months": Text("限指定月份过生日的会员", "it is for members born in certain months"),
                "joined_before": Text("限较早入会的会员", "it is for members who joined before a certain day"),
            }
        },
        explanation=Text(
            "有的活动只给一部分会员，例如指定的单位、劳模、当月寿星，或在某天之前入会的会员。"
            "活动页面写明了条件。如果你的资料有误，请联系所在的基层工会更正。",
            "Some campaigns are for some members only: certain unions, model workers, those with a birthday this month, or "
            "those who joined before a certain day. The campaign's page says which. If your details are wrong, ask your "
            "grassroots union to correct them.",
        ),
    ),
    Problem(
        "per-member-limit",
        409,
        title=Text("已达到限领数量", "Limit reached"),
        detail=Text("你在这次活动里已经领满了。", "You already hold as many as one member may."),
        variants=(
            Variant(
                Text(
                    "每人限领 {limit} 份，你已经领了 {used} 份。",
                    "One member may hold {limit}, and you hold {used} already.",
                )
            ),
        ),
        explanation=Text(
            "为了让更多人领到，每位会员有数量限制，你已经领到上限。领到的都在“我的福利”里。",
            "So that more people get something, there is a limit per member, and you have reached it. What you hold is "
            "among your claims.",
        ),
    ),
    Problem(
        "person-limit",
        409,
        title=Text("本人已领过", "Already taken under another membership"),
        detail=Text("你本人已经用另一个会员身份领过了。", "You have already taken yours under another membership of your own."),
        explanation=Text(
            "同一个人在几个单位都有会员身份时，合起来只算一个人的份。你用另一个身份领到的那份仍然有效。",
            "Somebody who is a member in several unions counts as one person. What you took under your other membership "
            "stays valid.",
        ),
    ),
    Problem(
        "cap-reached",
        409,
        title=Text("已达到累计上限", "Cap reached"),
        detail=Text("你这段时间领的这类福利已到上限。", "You have had as much of this kind as this period allows."),
        variants=(
            Variant(
                Text(
                    "这类福利累计限领 {limit} 份，你已经领了 {used} 份，下个周期可以再领。",
                    "Of this kind you may have {limit}, and you have had {used}; the count starts afresh later.",
                ),
                when=("resets_at",),
            ),
            Variant(
                Text(
                    "这类福利累计限领 {limit} 份，你已经领了 {used} 份。",
                    "Of this kind you may have {limit}, and you have had {used}.",
                )
            ),
        ),
        explanation=Text(
            "有些福利在几次活动里合起来算，比如每人每月几份。你已经领到上限，下一个周期会重新计算。",
            "Some benefits are counted across campaigns, so many a month for each member. You have reached that number; "
            "the count starts afresh with the next period.",
        ),
    ),
    Problem(
        "insufficient-points",
        409,
        title=Text("积分不够", "Not enough points"),
        detail=Text("你的积分不够这次使用。", "You do not have enough points for this."),
        variants=(
            Variant(
                Text(
                    "这次需要 {required} 积分，你现在有 {available} 积分。",
                    "This takes {required} points, and you have {available}.",
                )
            ),
        ),
        explanation=Text(
            "抢到时要扣积分，而你的可用积分不够，所以没有扣，也没有占用名额。可以先参加活动攒积分。",
            "Winning costs points, and you have too few. Nothing was taken from you. You can earn points in other activities.",
        ),
    ),
    Problem(
        "org-quota-exhausted",
        409,
        title=Text("本单位名额已满", "Your union's share is used up"),
        detail=Text("你所在单位的名额已经领完了。", "The share of your union is used up."),
        variants=(
            Variant(
                Text(
                    "你所在单位的名额已经领完，稍后剩余名额会向所有单位开放，到时再来试试。",
                    "The share of your union is used up. What is left opens to all unions later; try again then.",
                ),
                when=("spill_at_ms",),
            ),
        ),
        explanation=Text(
            "这次活动给各单位留了名额，你所在单位的已经领完，别的单位还有剩余。到了统一开放的时间，剩下的名额所有人都可以抢。",
            "In this campaign unions have shares of their own. That of your union is used up, others have some left. From "
            "the time when shares are opened, what is left is for everybody.",
        ),
    ),
    Problem(
        "sold-out",
        409,
        title=Text("已抢完", "Sold out"),
        detail=Text("已经抢完了，谢谢参与，下次再来。", "Everything is taken. Thank you for coming; better luck next time."),
        variants=(
            Variant(
                Text(
                    "这一批已经抢完了，后面还有一批，到时间再来。", "This batch is taken. Another one follows; come back then."
                ),
                when=("next_release_at_ms",),
            ),
            Variant(
                Text(
                    "已经抢完了，可以登记候补，有人退回时会通知你。",
                    "Everything is taken. You can join the waiting list and hear when a unit comes back.",
                ),
                when=("waitlist",),
            ),
        ),
        explanation=Text(
            "在你点下的那一刻，已经没有可以领的份数了。有人退回或有新的一批时，会重新开放；页面会写明下一批的时间。",
            "At the moment when you asked, no unit was left. If one is given back, or another batch is released, it opens "
            "again; the page says when the next batch comes.",
        ),
    ),
    Problem(
        "overloaded",
        503,
        title=Text("现在人太多", "Too many at once"),
        detail=Text("现在人太多，这次没有排上，请再点一次。", "Too many people are asking at once; please try again."),
        explanation=Text(
            "同一时刻的人太多，你的请求没来得及处理：没有占名额，也没有扣任何东西。稍等一秒再点一次就好。",
            "So many people asked at once that your request was not looked at: nothing was taken, nothing was decided. "
            "Wait a second and ask again.",
        ),
        retry_after_s=1,
    ),
    Problem(
        "paused-for-recovery",
        503,
        title=Text("系统核对中", "Checking the books"),
        detail=Text(
            "系统正在核对数据，马上恢复，请稍后再点一次。", "We are checking our books and will be back soon; please try again."
        ),
        explanation=Text(
            "系统刚遇到故障，正在逐笔核对，确认无误之前不发放任何东西，所以名额都还在。已经抢到的不会丢。稍等几秒再点一次。",
            "After a fault the books are being checked, and nothing is given out until they agree; so nothing is lost. "
            "What was won stays won. Wait a few seconds and ask again.",
        ),
        retry_after_s=2,
    ),
    Problem(
        "outcome-unknown",
        503,
        title=Text("结果还不确定", "Not known yet"),
        detail=Text(
            "还没收到结果，请再点一次：如果已经抢到，会直接显示给你。",
            "We have not heard the result. Please try again: if you have won, you will be shown it.",
        ),
        explanation=Text(
            "请求已经送出，但没有及时收到结果，可能抢到了，也可能没有。再点一次不会多占名额：抢到了就返回同一份，没抢到就重新排。",
            "Your request was sent, but no answer came in time: you may have won or not. Asking again never takes a second "
            "unit: if you have won, you get the same claim; if not, you take part anew.",
        ),
        retry_after_s=1,
    ),
    Problem(
        "claim-not-found",
        404,
        title=Text("没有这条领取记录", "No such claim"),
        detail=Text("没有找到这条领取记录。", "There is no such claim."),
        explanation=Text(
            "这条记录不存在，或者不是你的：每个人只能看到自己的记录。刚抢到的稍等几秒就能查到。",
            "This claim does not exist, or is not yours: everybody sees only their own. One that was just won can be looked "
            "up a few seconds later.",
        ),
    ),
    Problem(
        "voucher-already-redeemed",
        409,
        title=Text("券已经用过", "Already redeemed"),
        detail=Text("这张券已经核销过了。", "This voucher has already been redeemed."),
        variants=(Variant(Text("这张券已经在{store}核销过了。", "This voucher was redeemed before, at {store}.")),),
        explanation=Text(
            "每张券只能用一次。如果不是本人使用，请联系门店或所在工会。",
            "A voucher can be used once. If it was not you, talk to the shop or to your union.",
        ),
    ),
    Problem(
        "not-returnable",
        409,
        title=Text("不能退还", "Cannot be given back"),
        detail=Text("这一份不能退还了。", "This one cannot be given back any more."),
        variants=(
            Variant(Text("这一份{state}，不能退还。", "This one is {state} and cannot be given back.")),
            Variant(Text("{reason}，不能退还。", "This one cannot be given back: {reason}.")),
        ),
        words={
            "state": {
                "pending_payment": Text("还没有付款", "not paid yet"),
                "lapsed": Text("已超时作废", "lapsed"),
                "revoked": Text("已被收回", "revoked"),
            },
            "reason": {
                "state": Text("状态不允许", "its state does not allow it"),
                "expired": Text("券已过期", "the voucher has expired"),
                "redeemed": Text("券已用过", "the voucher has been used"),
                "code-seen": Text("券码已经看过", "its code has been seen"),
            },
        },
        explanation=Text(
            "只有还没用、没过期的才能退还，退还后会放回去给别人抢。第三方的券码看过之后就不能再给别人，所以也不能退还。",
            "Only what has neither been used nor expired can be given back; it then goes to somebody else. The code of a third "
            "party cannot go to anybody else once you have seen it, so that it cannot be given back either.",
        ),
    ),
    Problem(
        "returns-used-up",
        409,
        title=Text("退还次数已用完", "No returns left"),
        detail=Text("你在这次活动里不能再退还了。", "You cannot give anything more back in this campaign."),
        variants=(
            Variant(
                Text(
                    "这次活动每人最多退还 {limit} 次，你已经退还了 {used} 次。",
                    "In this campaign everybody may give back {limit} times, and you have done so {used} times.",
                )
            ),
        ),
        explanation=Text(
            "抢了又退会占着别人的机会，所以每次活动都有退还次数的上限。你手里的这一份仍然有效，可以照常使用。",
            "Taking and giving back keeps units from others, so each campaign bounds how often it can be done. What you hold "
            "stays valid and can be used as before.",
        ),
    ),
    Problem(
        "voucher-not-found",
        404,
        title=Text("没有这张券", "No such voucher"),
        detail=Text("没有找到这张券。", "There is no such voucher."),
        explanation=Text(
            "这张券不存在，或者不是你的：每个人只能看到自己的券。",
            "This voucher does not exist, or is not yours: everybody sees only their own.",
        ),
    ),
    Problem(
        "voucher-returned",
        409,
        title=Text("券已退还", "Given back"),
        detail=Text("这张券已经退还，不能再看券码。", "This voucher was given back, and its code cannot be seen any more."),
        explanation=Text(
            "退还之后，这张券的名额和券码都会给别人。",
            "What was given back goes to somebody else, and its code with it.",
        ),
    ),
    Problem(
        "voucher-revoked",
        409,
        title=Text("券已收回", "Revoked"),
        detail=Text("这张券已被收回，不能再看券码。", "This voucher was revoked, and its code cannot be seen any more."),
        explanation=Text(
            "主办方收回了这张券。如有疑问，请联系所在工会。",
            "The organisers have taken this voucher back. If you do not know why, talk to your union.",
        ),
    ),
)
