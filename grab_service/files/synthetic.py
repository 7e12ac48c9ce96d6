"""110,000 synthetic members, modelled on no real person.

The same seed gives the same unions and members on every machine and Python: only `random.Random` with a number as its
seed decides, no set and no hash. Everybody is active, so that a crowd of n has n who may win, unless a rule says otherwise.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import accumulate
from random import Random

from grab_service.vocabulary.members import Member, MemberStatus, Org

MEMBERS = 110_000
ORGS = 588
SEED = 20_260_920
MEMBERS_MAX = 1_000_000
ORGS_MAX = 10_000

MODEL_WORKER = "model-worker"  # 劳模
MODEL_WORKERS = 40
NEW_WORKER = "new-worker"

# One person in so many belongs to two unions: the second membership has an id of its own and the same person_id.
_SECOND_MEMBERSHIP_EVERY = 250
_LAST_DAY = date(2026, 8, 31)
_NEW_SINCE = date(2025, 9, 1)
_MEMBERSHIP_DAYS_MAX = 30 * 365
_SIZE_SPREAD = 1.2  # of the logarithm: a few unions of thousands, many of a few dozen

# Titles, trades and circumstances that campaigns are addressed to, and the share of members who have them.
_TAGS = (
    ("technician", 0.12),  # 技术工人
    ("night-shift", 0.08),  # 夜班
    ("outdoor-worker", 0.07),  # 户外劳动者
    ("courier", 0.05),  # 快递员、骑手
    ("volunteer", 0.04),  # 志愿者
    ("union-officer", 0.01),  # 工会干部
    ("in-hardship", 0.008),  # 困难职工
)

_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石"
    "廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
_DOUBLE_SURNAMES = ("欧阳", "上官", "司徒", "诸葛")
_GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂英华玉红建国文志海燕林春梅秀珍云飞雪晨佳怡子轩浩宇欣雨梓涵思琪嘉豪俊凯鑫鹏"
    "宁波岚清源立新永康乐安然一帆书瑶沐阳可心诗若景行知远承泽"
)

_PLACES = (
    *("云栖", "松涛", "望江", "青石", "银杏", "白鹭", "星河", "长桥", "东篱", "南浦", "金穗", "碧波", "翠屏", "鸣泉"),
    *("向阳", "和风", "紫荆", "锦湖", "明月", "清溪", "枫林", "丹霞", "澄江", "揽月", "听雨", "荷塘", "麦田", "晨光"),
)
_TRADES = (
    *("生物医药", "软件园", "集成电路", "公交", "环卫", "地铁建设", "快递物流", "中学", "小学", "幼儿园", "社区医院"),
    *("图书馆", "电力", "自来水", "食品", "纺织", "机械制造", "酒店餐饮", "家政服务", "银行", "街道社区"),
)


def generate_orgs(orgs: int = ORGS) -> Iterator[Org]:
    """Unions `org-001` … `org-588`, each with a Chinese name of its own.

    Raises:
        ValueError: orgs is not in 1..ORGS_MAX.
    """
    if not 1 <= orgs <= ORGS_MAX:
        raise ValueError(f"between 1 and {ORGS_MAX} unions, got {orgs}")
    width = max(3, len(str(orgs)))
    for number in range(orgs):
        round_no, place = divmod(number, len(_PLACES) * len(_TRADES))
        which = f"第{round_no + 1}" if round_no else ""
        # Neighbours in number differ in place and in trade; the rounds are told apart by their number.
        trade = _TRADES[(place // len(_PLACES) + place) % len(_TRADES)]
        yield Org(f"org-{number + 1:0{width}}", f"{_PLACES[place % len(_PLACES)]}{trade}{which}工会")


def generate(seed: int = SEED, members: int = MEMBERS, orgs: int = ORGS) -> Iterator[Member]:
    """Members `m-000001` …, in the order of their ids, streaming.

    Sizes of unions are skewed as in life, but none is empty if there are members enough. MODEL_WORKERS of them are
    model workers, or all if there are fewer.

    Raises:
        ValueError: members is not in 1..MEMBERS_MAX, or orgs not in 1..ORGS_MAX.
    """
    if not 1 <= members <= MEMBERS_MAX:
        raise ValueError(f"between 1 and {MEMBERS_MAX} members, got {members}")
    if not 1 <= orgs <= ORGS_MAX:
        raise ValueError(f"between 1 and {ORGS_MAX} unions, got {orgs}")
    random = Random(seed)  # noqa: S311  # nothing here is a secret
    org_ids = [org.org_id for org in generate_orgs(orgs)]
    placed = _placed(random, org_ids, members)
    model_workers = frozenset(random.sample(range(members), min(MODEL_WORKERS, members)))
    previous: Member | None = None
    for index in range(members):
        second = previous is not None and index % _SECOND_MEMBERSHIP_EVERY == 0 and placed[index] != previous.org_id
        joined_on = _LAST_DAY - timedelta(days=int(_MEMBERSHIP_DAYS_MAX * random.random() ** 2))
        tags = _tags(random, index in model_workers, joined_on)
        name, month = _name(random), 1 + int(12 * random.random())
        previous = Member(
            member_id=f"m-{index + 1:06}",
            org_id=placed[index],
            person_id=previous.person_id if previous and second else f"p-{index + 1:06}",
            name=previous.name if previous and second else name,
            tags=tags,
            birthday_month=previous.birthday_month if previous and second else month,
            joined_on=joined_on,
            status=MemberStatus.ACTIVE,
        )
        yield previous


def _placed(random: Random, org_ids: list[str], members: int) -> list[str]:
    """The union of each member: one each first, then by weights that spread like the sizes of firms."""
    weights = list(accumulate(random.lognormvariate(0, _SIZE_SPREAD) for _ in org_ids))
    placed = org_ids[:members] + random.choices(org_ids, cum_weights=weights, k=max(0, members - len(org_ids)))
    random.shuffle(placed)
    return placed


def _name(random: Random) -> str:
    # The square prefers the beginning of the list, where the frequent surnames stand.
    if random.random() < 0.004:
        surname = _DOUBLE_SURNAMES[int(len(_DOUBLE_SURNAMES) * random.random())]
    else:
        surname = _SURNAMES[int(len(_SURNAMES) * random.random() ** 2)]
    given = _GIVEN[int(len(_GIVEN) * random.random())]
    if random.random() < 0.8:
        given += _GIVEN[int(len(_GIVEN) * random.random())]
    return surname + given


def _tags(random: Random, is_model_worker: bool, joined_on: date) -> tuple[str, ...]:
    tags = [MODEL_WORKER] if is_model_worker else []
    if joined_on >= _NEW_SINCE:
        tags.append(NEW_WORKER)
    tags += [tag for tag, share in _TAGS if random.random() < share]
    return tuple(tags)
