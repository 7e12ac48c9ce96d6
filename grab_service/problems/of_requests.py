"""Problems of a request itself, of its sender, and of the service."""

from grab_service.problems.problem import Problem, Text, Variant

OF_REQUESTS: tuple[Problem, ...] = (
    Problem(
        "malformed",
        400,
        title=Text("请求看不懂", "Malformed request"),
        detail=Text("请求的格式不对，没能看懂。", "The request could not be understood."),
        explanation=Text(
            "发来的内容不符合格式，比如不完整的 JSON 或不合规的请求头。如果你在用小程序或 App，请更新到最新版本再试。",
            "What was sent does not have the right form: broken JSON, say, or a header that may not look like that. If you "
            "use the app, update it and try again.",
        ),
    ),
    Problem(
        "idempotency-key-missing",
        400,
        title=Text("缺少防重复标识", "Idempotency-Key missing"),
        detail=Text(
            "这个请求需要带上 Idempotency-Key，重发才不会多领。",
            "This request needs an Idempotency-Key, so that a repeat never takes a second unit.",
        ),
        explanation=Text(
            "可以领多份的活动里，每次领取要带一个自己生成的 Idempotency-Key（1 到 64 个可见的 ASCII 字符），"
            "重发时用同一个，这样网络不好也不会多领。管理员补发时也一样。",
            "Where a member may hold several, every grab carries an Idempotency-Key of the client's own making (1 to 64 "
            "visible ASCII characters); a repeat carries the same one, so that a bad network never takes a second unit. "
            "So does every claim that ops make good.",
        ),
    ),
    Problem(
        "pass-invalid",
        401,
        title=Text("登录凭证无效", "Pass invalid"),
        detail=Text("登录凭证无效，请重新登录。", "Your pass is not valid; please sign in again."),
        explanation=Text(
            "请求没有带登录凭证，或者凭证不完整、被改动过、不属于本站。请退出后重新登录。",
            "The request carried no pass, or one that is incomplete, was changed, or belongs to another site. Sign out and "
            "sign in again.",
        ),
    ),
    Problem(
        "pass-expired",
        401,
        title=Text("登录已过期", "Pass expired"),
        detail=Text("登录已过期，请重新登录。", "Your pass has expired; please sign in again."),
        explanation=Text(
            "登录凭证有有效期，现在已经过了。重新登录就好；建议开抢前几分钟先登录。",
            "A pass is valid for a time, and yours is over. Sign in again; best a few minutes before an opening.",
        ),
    ),
    Problem(
        "assertion-invalid",
        401,
        title=Text("身份证明无效", "Assertion invalid"),
        detail=Text("身份证明无效或已过期，请返回重新进入。", "The assertion is invalid or has expired; please come in again."),
        explanation=Text(
            "登录时要由小程序或 App 出具一份短期的身份证明，这一份没有通过检查。请返回上一页重新进入。",
            "To sign in, the app hands over a short-lived assertion of who you are, and this one did not pass. Go back and "
            "come in again.",
        ),
    ),
    Problem(
        "assertion-used",
        401,
        title=Text("身份证明已用过", "Assertion already used"),
        detail=Text("这份身份证明已经用过，请返回重新进入。", "This assertion was used before; please come in again."),
        explanation=Text(
            "每份身份证明只能用一次，防止被别人截去再用。请返回上一页重新进入，会得到新的一份。",
            "Each assertion counts once, so that nobody can use a stolen one. Go back and come in again; you will get a "
            "new one.",
        ),
    ),
    Problem(
        "sign-in-required",
        401,
        title=Text("请先登录", "Sign in first"),
        detail=Text("请先登录，再进行这项操作。", "Please sign in first."),
        explanation=Text(
            "这项操作需要管理人员登录。登录凭证缺失、无效、已过期或已被停用时也会看到这一页。",
            "This needs somebody of ops who is signed in. A token that is missing, invalid, expired or ended leads here too.",
        ),
    ),
    Problem(
        "forbidden",
        403,
        title=Text("没有权限", "Not permitted"),
        detail=Text("你没有进行这项操作的权限。", "You are not permitted to do this."),
        explanation=Text(
            "你已经登录，但你的角色不包括这项操作。如有需要，请联系管理员调整角色。",
            "You are signed in, but your role does not include this. If you need it, ask an administrator.",
        ),
    ),
    Problem(
        "not-found",
        404,
        title=Text("没有找到", "Not found"),
        detail=Text("没有找到你要的内容。", "There is nothing here."),
        explanation=Text(
            "这个地址不存在，或者它不属于你。请检查链接。",
            "This address does not exist, or what it names is not yours. Please check the link.",
        ),
    ),
    Problem(
        "method-not-allowed",
        405,
        title=Text("不支持这种请求方法", "Method not allowed"),
        detail=Text("这个地址不支持这种请求方法。", "This address does not take this method."),
        explanation=Text(
            "地址是对的，方法不对（例如该用 POST 却用了 GET）。应答里的 Allow 写明了可用的方法。",
            "The address is right, the method is not (GET instead of POST, say). `Allow` in the answer lists those it takes.",
        ),
    ),
    Problem(
        "request-timeout",
        408,
        title=Text("请求发送太慢", "Request too slow"),
        detail=Text("请求没有在规定时间内发完，请重试。", "The request did not arrive in time; please try again."),
        explanation=Text(
            "网络太慢或中断，请求没有发完，所以没有处理。请换个网络再试。",
            "The network was slow or broke off, and the request never arrived in full; it was not acted on. Try again.",
        ),
    ),
    Problem(
        "precondition-failed",
        412,
        title=Text("内容已被修改", "Changed in the meantime"),
        detail=Text("别人刚刚改过这项内容，请刷新后再改。", "Somebody changed this in the meantime; reload it and try again."),
        explanation=Text(
            "你看到的是旧版本，为了不覆盖别人的修改，这次没有保存。请重新读取，用新的 ETag 提交。",
            "You were looking at an older version, and nothing was saved, so that nobody's change is lost. Read it again "
            "and send the new ETag.",
        ),
    ),
    Problem(
        "too-large",
        413,
        title=Text("内容太大", "Too large"),
        detail=Text("发来的内容太大了。", "What was sent is too large."),
        variants=(
            Variant(
                Text("发来的内容太大了，最多 {limit_bytes} 字节。", "What was sent is too large; at most {limit_bytes} bytes.")
            ),
        ),
        explanation=Text(
            "请求的内容超过了上限，没有处理。导入文件请分成几个小文件。",
            "The body is above the limit and was not read. Split a file to be imported into smaller ones.",
        ),
    ),
    Problem(
        "unsupported-media-type",
        415,
        title=Text("内容类型不支持", "Unsupported media type"),
        detail=Text("不支持这种内容类型，请用 JSON。", "This content type is not taken here; please send JSON."),
        variants=(
            Variant(
                Text("不支持这种内容类型，请用 {expected}。", "This content type is not taken here; please send {expected}.")
            ),
            Variant(
                Text(
                    "不接受压缩过的内容，请原样发送，去掉请求头 Content-Encoding 或写为 {encoding}。",
                    "Compressed bodies are not taken; please send it as it is, without Content-Encoding, or with {encoding}.",
                )
            ),
        ),
        explanation=Text(
            "请求头 Content-Type 与这个地址接受的不一致：一般用 application/json，导入用 text/csv。"
            "或者请求头 Content-Encoding 表示内容经过压缩。",
            "`Content-Type` is not one that this address takes: it is application/json in general, text/csv for imports. "
            "Or `Content-Encoding` says that the body is compressed, which is not taken.",
        ),
    ),
    Problem(
        "validation",
        422,
        title=Text("内容有误", "Not valid"),
        detail=Text("提交的内容有误，请按提示修改。", "Some of what was sent is not valid; please correct it."),
        explanation=Text(
            "格式没问题，但有的字段缺失、超出范围，或暂不支持。errors 里逐项写明了字段和原因；这次什么都没有保存。",
            "The form is right, but fields are missing, out of range or not supported. `errors` names each field and the "
            "reason. Nothing was saved.",
        ),
    ),
    Problem(
        "precondition-required",
        428,
        title=Text("缺少 If-Match", "If-Match required"),
        detail=Text("修改前请带上读到的版本（If-Match）。", "Send the version you have read with your change (If-Match)."),
        explanation=Text(
            "为了不覆盖别人的修改，修改时要用 If-Match 带上读取时得到的 ETag。",
            "So that nobody's change is lost, a change carries, as If-Match, the ETag that came with what you read.",
        ),
    ),
    Problem(
        "rate-limited",
        429,
        title=Text("点得太快", "Too fast"),
        detail=Text("点得太快了，歇一下再点。", "You are asking too fast; take a breath and try again."),
        explanation=Text(
            "短时间内请求太多。多点不会提高抢到的机会。请按 Retry-After 写的秒数等一会儿。",
            "Too many requests in a short time. Asking more often does not improve your chances. Wait for the seconds that "
            "Retry-After says.",
        ),
        retry_after_s=1,
    ),
    Problem(
        "headers-too-large",
        431,
        title=Text("请求头太大", "Headers too large"),
        detail=Text("请求头太大了。", "The headers of the request are too large."),
        explanation=Text(
            "请求头超过了上限，没有处理。清除浏览器的 Cookie 后再试。",
            "The headers are above the limit, and the request was not read. Clearing the browser's cookies may help.",
        ),
    ),
    Problem(
        "internal-error",
        500,
        title=Text("系统出错", "Internal error"),
        detail=Text("系统出了点问题，我们已经记录下来。", "Something went wrong on our side; it has been recorded."),
        variants=(
            Variant(
                Text(
                    "系统出了点问题，我们已经记录下来，编号 {request_id}。",
                    "Something went wrong on our side; it has been recorded, as {request_id}.",
                )
            ),
        ),
        explanation=Text(
            "这是我们的错误，不是你的问题，已经留下记录等待处理。如果你在抢，请再点一次：抢到的不会丢，也不会多占。",
            "This is our mistake and not yours, and is on record. If you were grabbing, ask again: what was won is not "
            "lost, and nothing is taken twice.",
        ),
    ),
    Problem(
        "ledger-unavailable",
        503,
        title=Text("记录暂时查不到", "Ledger unavailable"),
        detail=Text(
            "记录暂时查不到，请稍后再试；已经抢到的不受影响。", "Records cannot be read just now; what was won is safe."
        ),
        explanation=Text(
            "保存记录的数据库暂时连不上。抢到的已经保存在别处，不会丢，恢复后就能查到。",
            "The database that keeps the records cannot be reached at the moment. What was won is kept elsewhere too, and "
            "shows up when it is back.",
        ),
        retry_after_s=5,
    ),
    Problem(
        "ledger-behind",
        503,
        title=Text("记录还在入账", "Ledger behind"),
        detail=Text("记录还在入账，请过几秒再试。", "The ledger is catching up; please try again in a few seconds."),
        explanation=Text(
            "刚才的领取还在逐笔入账，这项操作要等账目追上才能给出准确的结果。请过几秒再试。",
            "What was just claimed is still being written down, and this call needs the ledger to have caught up. Try again "
            "in a few seconds.",
        ),
        retry_after_s=2,
    ),
)
