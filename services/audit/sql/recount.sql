-- Counting the log again: duplicates, figures per subject, minutes of broadcasts.
--
-- pos is the offset of a record, place the index within it, stamp_ms the record's own time.

-- name: log
-- The entries of the log, with the present that their partition had reached. $files: Parquet files.
create or replace table log as
select
    partition, "offset" as pos, "index" as place, record_timestamp_ms as stamp_ms,
    kind, event_id, occurred_at_ms, platform, account,
    case kind when 'post' then 'post' else action end as action,
    case kind when 'post' then 1 else coalesce(quantity, 1) end as quantity,
    nullif(post_id, '') as post_id, nullif(broadcast_id, '') as broadcast_id,
    list_distinct(hashtags) as hashtags, nullif(campaign, '') as campaign, post_format,
    nullif(country, '') as country, coalesce(verified, false) as vip,
    metric, value, phase, problem, present_ms,
    coalesce(max(present_ms) over (
        partition by partition order by "offset", "index"
        rows between unbounded preceding and current row
    ), 0) as present_so_far_ms
from read_parquet($files);

-- name: event
-- The events of the log with their sequence number, and whether each is a duplicate: its id was met before,
-- in the same generation or in one of the generations before it that are remembered. The occurrence that
-- matters is the latest one, whether it counted or not.
create or replace table event as
with numbered as (
    select *, row_number() over (partition by partition order by pos, place) - 1 as sequence
    from log where problem is null and kind <> 'clock'
),
aged as (
    select numbered.*, sequence // horizon.generation_events as generation, horizon.generations
    from numbered join horizon using (partition)
)
select
    * exclude (generation, generations, problem, present_ms),
    coalesce(
        generation - lag(generation) over (partition by partition, event_id order by sequence) <= generations,
        false
    ) as duplicate
from aged;

-- name: acted
-- What counts as an action.
create or replace view acted as
select * from event where not duplicate and kind in ('interaction', 'post');

-- name: hit
-- One row per event and subject that it counts for; s1 and s2 name the subject within its scope.
create or replace view hit as
with base as (
    select partition, pos, place, stamp_ms, event_id, occurred_at_ms, present_so_far_ms, action, quantity,
        kind, platform, account, hashtags, campaign, post_format, broadcast_id, country, vip, post_id
    from acted
),
named as (
    select *, 'account' as scope, platform as s1, account as s2 from base
    union all
    select *, 'hashtag', unnest(hashtags), '' from base
    union all
    select *, 'campaign', campaign, '' from base where campaign is not null
    union all
    select *, 'format', post_format, '' from base where post_format is not null
    union all
    select *, 'broadcast', broadcast_id, '' from base where broadcast_id is not null
    union all
    select *, 'country', country, '' from base where kind = 'interaction' and country is not null
    union all
    select *, 'vip', '', '' from base where kind = 'interaction' and vip
    union all
    select *, 'post', platform, post_id from base where kind = 'interaction' and post_id is not null
)
select scope, s1, s2, partition, pos, place, stamp_ms, event_id, occurred_at_ms, present_so_far_ms,
    action, quantity
from named;

-- name: reported
-- Readings that are no duplicates, with their subject.
create or replace view reported as
select *,
    case
        when post_id is not null then 'post/' || post_id
        when broadcast_id is not null then 'broadcast/' || broadcast_id
        else account
    end as subject
from event where not duplicate and kind = 'reading';

-- name: minute
-- What each minute of a broadcast took. A minute takes an event only as long as the clock of its partition
-- has not passed its end by the grace; so this is, for a closed minute, what had been counted when it closed.
create or replace table minute as
with timed as (
    select partition, s1 as broadcast_id,
        occurred_at_ms // getvariable('minute_ms') * getvariable('minute_ms') as start_ms,
        action, quantity, present_so_far_ms
    from hit where scope = 'broadcast'
)
select partition, broadcast_id, start_ms, action, sum(quantity) as quantity
from timed where present_so_far_ms < start_ms + getvariable('closing_ms')
group by all;

-- name: recounted
-- All figures at the published positions: what comes after them is not yet counted, which is no fault.
create or replace table recounted as
with due as (
    select hit.* from hit join position using (partition) where pos <= last_offset
)
select partition, scope, s1, s2, action as metric, sum(quantity) as value from due group by all
union all
select partition, scope, s1, s2, 'last_ms', max(occurred_at_ms) // 1000 * 1000
from due where scope not in ('country', 'vip') group by all
union all
select partition, 'minute', broadcast_id, start_ms::varchar, action, quantity
from minute join position using (partition)
where start_ms + getvariable('closing_ms') <= position.present_ms
union all
select partition, 'reading', platform, subject, metric, arg_max(value, (occurred_at_ms, pos, place))
from reported join position using (partition) where pos <= last_offset
group by all
union all
select partition, 'broadcast', broadcast_id, '', 'phase ' || phase, arg_max(occurred_at_ms, (pos, place))
from event join position using (partition)
where kind = 'broadcast' and not duplicate and pos <= last_offset
group by all;

-- name: counters
-- The counters of the positions, as figures too.
insert into recounted
with seen as (
    select partition, count(*) as sequence,
        count(*) filter (not duplicate) as counted,
        count(*) filter (duplicate) as duplicates,
        max(occurred_at_ms) filter (not duplicate) as watermark_ms
    from event join position using (partition) where pos <= last_offset
    group by all
),
entries as (
    select partition, count(*) filter (problem is not null) as refused, max(log.present_ms) as present_ms
    from log join position using (partition) where pos <= last_offset
    group by all
),
counters as (
    select partition,
        coalesce(sequence, 0) as sequence, coalesce(counted, 0) as counted,
        coalesce(duplicates, 0) as duplicates, coalesce(refused, 0) as refused,
        coalesce(entries.present_ms, 0) as present_ms, coalesce(watermark_ms, 0) as watermark_ms
    from position left join seen using (partition) left join entries using (partition)
)
select partition, 'position', '', '', name, value
from (unpivot counters on columns(* exclude (partition)) into name name value value);
