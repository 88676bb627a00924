"""Counting the log again, in SQL: duplicates, figures per subject, closed minutes.

The rules are those of the log contract and of schemas.totals; the code is the audit's own. Tables it makes:

| table | rows |
|---|---|
| log | the entries of the log that can be read, with the present that their partition had reached |
| event | the events of the log with their sequence number, and whether each is a duplicate |
| hit | (view) one row per event and subject that it counts for |
| recounted | figures at the positions: partition, scope, s1, s2, metric, value |

``pos`` is the offset of a record, ``place`` the index within it, ``stamp_ms`` the record's own time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.audit.engine import Engine, quoted

MINUTE_MS = 60_000
#: A minute closes this long after its end, by the clock of the log.
GRACE_MS = 5_000
#: A closed minute older than this need not be published any more.
KEPT_MS = 48 * 3_600_000

_LOG = """
create or replace table log as
select
    partition, "offset" as pos, "index" as place, record_timestamp_ms as stamp_ms, kind, event_id,
    occurred_at_ms, platform, account, case kind when 'post' then 'post' else action end as action,
    coalesce(quantity, 1) as quantity, nullif(post_id, '') as post_id,
    nullif(broadcast_id, '') as broadcast_id, list_distinct(hashtags) as hashtags,
    nullif(campaign, '') as campaign, post_format, nullif(country, '') as country,
    coalesce(verified, false) as vip, metric, value, phase, problem, present_ms,
    coalesce(max(present_ms) over (
        partition by partition order by "offset", "index"
        rows between unbounded preceding and current row), 0) as present_so_far_ms
from read_parquet({files})
"""

# A duplicate: the id was met before, in the same generation or in one of the `generations` before it. The
# occurrence that matters is the latest, whether it counted or not.
_EVENT = """
create or replace table event as
with numbered as (
    select *, row_number() over (partition by partition order by pos, place) - 1 as sequence
    from log where problem is null and kind <> 'clock'
), aged as (
    select numbered.*, sequence // horizon.generation_events as generation, horizon.generations
    from numbered join horizon using (partition)
)
select * exclude (generation, generations, kind, problem, present_ms), kind,
    coalesce(generation - lag(generation) over (partition by partition, event_id order by sequence)
        <= generations, false) as duplicate
from aged
"""

_ADDRESS = "partition, pos, place, stamp_ms, event_id, occurred_at_ms, present_so_far_ms, action, quantity"
_HIT = f"""
create or replace view acted as
    select * from event where not duplicate and kind in ('interaction', 'post');
create or replace view hit as
    select {_ADDRESS}, 'account' as scope, platform as s1, account as s2 from acted
    union all select {_ADDRESS}, 'hashtag', unnest(hashtags), '' from acted
    union all select {_ADDRESS}, 'campaign', campaign, '' from acted where campaign is not null
    union all select {_ADDRESS}, 'format', post_format, '' from acted where post_format is not null
    union all select {_ADDRESS}, 'broadcast', broadcast_id, '' from acted where broadcast_id is not null
    union all select {_ADDRESS}, 'country', country, ''
        from acted where kind = 'interaction' and country is not null
    union all select {_ADDRESS}, 'vip', '', '' from acted where kind = 'interaction' and vip
    union all select {_ADDRESS}, 'post', platform, post_id
        from acted where kind = 'interaction' and post_id is not null;
create or replace view reported as
    select *, case when post_id is not null then 'post/' || post_id
        when broadcast_id is not null then 'broadcast/' || broadcast_id else account end as subject
    from event where not duplicate and kind = 'reading';
"""

# Figures as of the published positions: what comes after them is not yet counted, which is no fault.
_RECOUNTED = f"""
create or replace table recounted as
with due as (select hit.* from hit join position using (partition) where pos <= position.last_offset),
minutes as (
    select partition, s1, occurred_at_ms // {MINUTE_MS} * {MINUTE_MS} as start_ms, action, quantity
    from due where scope = 'broadcast'
        and present_so_far_ms < occurred_at_ms // {MINUTE_MS} * {MINUTE_MS} + {MINUTE_MS + GRACE_MS}
)
select partition, scope, s1, s2, action as metric, sum(quantity) as value from due group by all
union all
select partition, scope, s1, s2, 'last_ms', max(occurred_at_ms) from due group by all
union all
select partition, 'minute', s1, start_ms::varchar, action, sum(quantity)
from minutes join position using (partition)
where start_ms + {MINUTE_MS + GRACE_MS} <= position.present_ms group by all
union all
select partition, 'reading', platform, subject, metric, arg_max(value, (occurred_at_ms, pos, place))
from reported join position using (partition) where pos <= last_offset group by all
union all
select partition, 'broadcast', broadcast_id, '', 'phase ' || phase, arg_max(occurred_at_ms, (pos, place))
from event join position using (partition)
where kind = 'broadcast' and not duplicate and pos <= last_offset group by all
"""

_COUNTERS = """
insert into recounted
with seen as (
    select partition, count(*) as sequence, count(*) filter (not duplicate) as counted,
        count(*) filter (duplicate) as duplicates,
        coalesce(max(occurred_at_ms) filter (not duplicate), 0) as watermark_ms
    from event join position using (partition) where pos <= last_offset group by all
), entries as (
    select partition, count(*) filter (problem is not null) as refused,
        coalesce(max(log.present_ms), 0) as present_ms
    from log join position using (partition) where pos <= last_offset group by all
), counters as (
    select partition, coalesce(sequence, 0) as sequence, coalesce(counted, 0) as counted,
        coalesce(duplicates, 0) as duplicates, coalesce(watermark_ms, 0) as watermark_ms,
        coalesce(refused, 0) as refused, coalesce(entries.present_ms, 0) as present_ms
    from position left join seen using (partition) left join entries using (partition)
)
select partition, 'position', '', '', name, value
from (unpivot counters on columns(* exclude (partition)) into name name value value)
"""


def read_log(engine: Engine, files: Sequence[Path]) -> None:
    """Make the table ``log`` of the Parquet files of an export."""
    listed = "[" + ", ".join(quoted(file) for file in files) + "]"
    engine.run(_LOG.format(files=listed))


def recount(engine: Engine) -> None:
    """Make ``event``, ``hit`` and ``recounted`` from ``log``, ``position`` and ``horizon``.

    ``position`` has partition, last_offset and present_ms; ``horizon`` the rule of duplicates of every
    partition that has events.
    """
    engine.run(_EVENT)
    engine.run(_HIT)
    engine.run(_RECOUNTED)
    engine.run(_COUNTERS)
