"""What engagement.totals.v1 says, as figures: decoded here, in SQL, and nowhere else.

| table | rows |
|---|---|
| published_record | the latest record of every key of every partition |
| position | partition, last_offset, present_ms, and the other members of the position entry |
| horizon | partition, generation_events, generations: the rule of duplicates for every partition of the log |
| published | partition, scope, s1, s2, metric, value, like ``recounted`` |
| unreadable | partition, key: records that are none of schemas.totals |
"""

from __future__ import annotations

from pathlib import Path

from services.audit.engine import Engine, quoted
from services.audit.recount import GRACE_MS, KEPT_MS, MINUTE_MS

#: The rule of duplicates where no position says another.
DEFAULT_HORIZON = (250_000, 2)

_RECORDS = """
create or replace table published_record as
select partition, key, value from read_parquet({file})
qualify row_number() over (partition by partition, key order by "offset" desc) = 1;

create or replace table unreadable as
select partition, coalesce(key, '') as key from published_record
where value is not null and not coalesce(
    json_valid(key) and json_valid(value)
    and case when json_valid(key) then json_type(key) end = 'ARRAY'
    and case when json_valid(value) then json_type(value) end = 'OBJECT', false);

delete from published_record where value is null
    or (partition, coalesce(key, '')) in (select (partition, key) from unreadable);
"""

_POSITION = """
create or replace table position as
select partition,
    try_cast(value ->> 'offset' as bigint) as last_offset,
    coalesce(try_cast(value ->> 'present_ms' as bigint), 0) as present_ms,
    try_cast(value ->> 'generation_events' as bigint) as generation_events,
    try_cast(value ->> 'generations' as bigint) as generations,
    value as entry
from published_record where key ->> 0 = 'position';

insert into unreadable
select partition, '["position"]' from position
where last_offset is null or coalesce(generation_events, 0) < 1 or coalesce(generations, 0) < 1;
delete from position where last_offset is null;

create or replace table horizon as
with given as (
    select partition, generation_events, generations from position
    where generation_events >= 1 and generations >= 1
), usual as (
    select generation_events, generations from given group by all order by count(*) desc, 1, 2 limit 1
), fallback as (
    select coalesce(max(generation_events), {events}) as generation_events,
        coalesce(max(generations), {generations}) as generations from usual
)
select partition,
    coalesce(given.generation_events, fallback.generation_events) as generation_events,
    coalesce(given.generations, fallback.generations) as generations
from (select distinct partition from log) left join given using (partition), fallback;
"""

_PUBLISHED = """
create or replace table published_entry as
select partition, key ->> 0 as scope, coalesce(key ->> 1, '') as s1, coalesce(key ->> 2, '') as s2,
    coalesce(key ->> 3, '') as s3, value
from published_record where key ->> 0 <> 'position';

create or replace table published as
with counted as (
    select partition, scope, s1, s2, value,
        unnest(map_entries(from_json(value -> 'actions', '"MAP(VARCHAR, VARCHAR)"'))) as action
    from published_entry
    where scope in ('account', 'hashtag', 'campaign', 'country', 'format', 'vip', 'post', 'broadcast')
        or scope = 'minute' and (value ->> 'closed') = 'true'
), told as (
    select partition, scope, s1, s2, action.key as metric, action.value as value from counted
    union all
    select partition, scope, s1, s2, 'last_ms', value ->> 'last_ms' from published_entry
    where scope not in ('reading', 'minute') and (value ->> 'last_ms') <> '0'
    union all
    select partition, scope, s1, s2, 'phase ' || phase.key, phase.value from (
        select *, unnest(map_entries(from_json(value -> 'phases', '"MAP(VARCHAR, VARCHAR)"'))) as phase
        from published_entry where scope = 'broadcast')
    union all
    select partition, 'reading', s1, s2, s3, value ->> 'value' from published_entry where scope = 'reading'
    union all
    select partition, 'position', '', '', name, entry ->> name
    from position, (select unnest(
        ['sequence', 'counted', 'duplicates', 'refused', 'present_ms', 'watermark_ms']) as name)
)
-- A count of 0 says the same as no entry; what is no number is never equal to one.
select partition, scope, s1, s2, metric, coalesce(try_cast(value as hugeint), -1) as value from told
where not (value = '0' and scope not in ('reading', 'position'));
"""

# Closed minutes that are long past may have been given up; what is past its end must be closed.
_MINUTES = f"""
delete from recounted where scope = 'minute'
    and (partition, s1, s2) not in (select (partition, s1, s2) from published where scope = 'minute')
    and exists (from position where position.partition = recounted.partition
        and try_cast(recounted.s2 as bigint) + {KEPT_MS} <= position.present_ms);
create or replace table left_open as
select partition, s1, s2 from published_entry join position using (partition)
where scope = 'minute' and coalesce(value ->> 'closed', '') <> 'true'
    and try_cast(s2 as bigint) + {MINUTE_MS + GRACE_MS} <= position.present_ms;
"""


def read_totals(engine: Engine, file: Path) -> None:
    """Make ``position``, ``horizon``, ``published`` and ``unreadable``; ``log`` must be there."""
    events, generations = DEFAULT_HORIZON
    engine.run(_RECORDS.format(file=quoted(file)))
    engine.run(_POSITION.format(events=events, generations=generations))
    engine.run(_PUBLISHED)


def forget_given_up_minutes(engine: Engine) -> None:
    """Leave those recounted minutes out that need not be published; make ``left_open``."""
    engine.run(_MINUTES)
