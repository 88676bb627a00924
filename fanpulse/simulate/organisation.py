"""The Gansu matrix: the accounts, hashtags, campaigns and VIPs of the scenario."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_MS = 60_000
#: 22 June 2026, 08:30 UTC: the preheat of the Fuxi Grand Ceremony begins (16:30 in Tianshui).
START_MS = 1_782_117_000_000
MINUTES = 120
END_MS = START_MS + MINUTES * MINUTE_MS
NAMESPACE = "demo"


@dataclass(frozen=True, slots=True)
class Account:
    """An account. ``followers`` is the figure at the start, ``pull`` its relative activity."""

    platform: str
    handle: str
    followers: int
    pull: float


ACCOUNTS: tuple[Account, ...] = (
    Account("twitter", "GansuTravel", 214_310, 1.0),
    Account("twitter", "GansuHeritage", 98_470, 0.7),
    Account("facebook", "VisitGansu", 399_705, 1.3),
    Account("facebook", "GansuCulture", 121_764, 0.8),
    Account("instagram", "visitgansu", 121_930, 1.0),
    Account("instagram", "gansu.heritage", 36_752, 0.6),
)
BY_HANDLE: dict[tuple[str, str], Account] = {(each.platform, each.handle): each for each in ACCOUNTS}

FUXI, APRICOT, HERITAGE = "fuxi-ceremony-2026", "linxia-apricot-2026", "heritage-day-2026"
BROADCAST_ID = "fuxi-2026"
BROADCAST_TITLE = "Fuxi Grand Ceremony, Tianshui 公祭伏羲大典"

#: Language pairs: display name -> the hashtags that count under it (the setting ``hashtag_aliases``).
ALIASES: dict[str, tuple[str, ...]] = {
    "FuxiCeremony": ("伏羲大典",),
    "LinxiaApricot": ("临夏杏花",),
    "GansuHeritage": ("文化和自然遗产日",),
    "ColorfulGansu": ("多彩甘肃",),
}
#: Hashtags that the audience adds and that are in no alias group, with their weights.
AUDIENCE_HASHTAGS: tuple[tuple[str, float], ...] = (
    ("#Tianshui", 14), ("#天水", 9), ("#SilkRoad", 12), ("#丝绸之路", 5), ("#Dunhuang", 9), ("#敦煌", 5),
    ("#Hanfu", 8), ("#汉服", 4), ("#Maijishan", 6), ("#麦积山石窟", 3), ("#Zhangye", 5), ("#张掖丹霞", 3),
    ("#VisitChina", 7), ("#TravelChina", 6), ("#IntangibleHeritage", 5), ("#drums", 4), ("#blossom", 4),
    ("#culture", 4), ("#甘肃", 6), ("#OnePlaceOneDay", 1),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vip:
    """A VIP. ``listed``: it is in the setting ``ingest.vip_actors``; otherwise its platform verified it."""

    platform: str
    id: str
    name: str
    country: str
    listed: bool
    reach: int  # average number of reactions to a repost


VIPS: tuple[Vip, ...] = (
    Vip("twitter", "7031942218", "Silk Road Radio", "KZ", True, 210),
    Vip("twitter", "1184420957", "Grotto Conservation Fund", "GB", True, 170),
    Vip("twitter", "5526013347", "Embassy Culture Desk", "CN", False, 140),
    Vip("twitter", "2290871165", "World Drum Archive", "SN", False, 120),
    Vip("facebook", "100064218840112", "Ancient Dances Today", "US", True, 190),
    Vip("facebook", "100071935526108", "Nomad Kitchen", "MY", True, 150),
    Vip("facebook", "100058830417726", "Museum Night Asia", "SG", False, 120),
    Vip("instagram", "17841400512387", "aperture.atlas", "ID", True, 260),
    Vip("instagram", "17841447720916", "blossom.diary", "JP", True, 230),
    Vip("instagram", "17841422093385", "slow.trains", "DE", False, 150),
)

#: Countries of the audience of the overseas accounts: ISO 3166-1 code and weight.
COUNTRIES: tuple[tuple[str, float], ...] = (
    ("US", 150), ("ID", 72), ("PH", 61), ("MY", 60), ("IN", 58), ("PK", 47), ("TH", 44), ("GB", 43),
    ("VN", 37), ("SG", 33), ("JP", 31), ("DE", 27), ("FR", 26), ("KR", 25), ("CA", 25), ("AU", 24),
    ("BR", 24), ("BD", 21), ("MX", 20), ("IT", 19), ("ES", 18), ("HK", 16), ("TW", 15), ("EG", 15),
    ("NG", 14), ("TR", 14), ("KE", 12), ("NP", 12), ("RU", 12), ("LK", 11), ("CN", 10), ("KZ", 10),
    ("SA", 10), ("AE", 10), ("NL", 10), ("MM", 9), ("KH", 9), ("ZA", 9), ("PL", 8), ("UZ", 8), ("AR", 8),
    ("NZ", 6), ("SE", 6), ("CO", 6), ("CH", 6), ("KG", 5), ("BE", 5), ("CL", 5), ("PT", 5), ("GR", 5),
    ("SN", 3), ("MN", 3),
)  # fmt: skip
#: Countries where people prefer the Chinese hashtag to the English one.
CHINESE_READERS = frozenset({"CN", "HK", "TW", "SG", "MY"})
