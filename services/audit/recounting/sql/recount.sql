-- Counting the log again: duplicates, figures per subject, minutes of broadcasts.
--
-- pos is the offset of a record, place the index within it, stamp_ms the record's own time; address is pos
-- and place in one number, in log order within a partition. Most rows are events that repeat nothing, so no
-- statement here sorts them: what depends on order is worked out for the few rows that it matters for.

-- name: record
-- The records of the log, and the number of the first entry of each within its partition. $files: Parquet.
create or replace table record as
with sized as (
    select partition, "offset" as pos, max("index") + 1 as size, count(*) as found
    from read_parquet($files) group by all
)
select *,
    coalesce(sum(size) over (
        partition by partition order by pos rows between unbounded preceding and 1 preceding
    ), 0) as start
from sized;

-- name: aside
-- The entries that are no events: clocks, and what cannot be read. before: how many of them the partition
-- had up to and with this one; present_so_far_ms: the newest present up to and with this one.
create or replace table aside as
with taken as (
    select partition, "offset" as pos, "index" as place, "offset" * getvariable('places') + "index" as address,
        record_timestamp_ms as stamp_ms, problem, present_ms
    from read_parquet($files) where kind is null or kind = 'clock'
)
select *,
    row_number() over in_order as before,
    coalesce(max(present_ms) over in_order, 0) as present_so_far_ms
from taken
window in_order as (
    partition by partition order by address rows between unbounded preceding and current row
);

-- name: event
create or replace table event as
select
    partition, "offset" as pos, "index" as place, record_timestamp_ms as stamp_ms,
    kind, event_id, hash(event_id) as id_hash, occurred_at_ms, platform, account,
    case kind when 'post' then 'post' else action end as action,
    case kind when 'post' then 1 else coalesce(quantity, 1) end as quantity,
    nullif(post_id, '') as post_id, nullif(broadcast_id, '') as broadcast_id,
    list_distinct(hashtags) as hashtags, nullif(campaign, '') as campaign, post_format,
    nullif(country, '') as country, coalesce(verified, false) as vip, metric, value, phase
from read_parquet($files) where kind is not null and kind <> 'clock';

-- name: repeated
-- Events whose id may occur more than once in their partition, with their sequence number: how many events
-- the partition had before.
create or replace table repeated as
with candidate as (
    select partition, pos, place, event_id
    from event semi join (
        select partition, id_hash from event group by all having count(*) > 1
    ) using (partition, id_hash)
),
placed as (
    select candidate.*, start + place as entries_before, pos * getvariable('places') + place as address
    from candidate join record using (partition, pos)
)
select placed.partition, placed.pos, placed.place, placed.event_id,
    entries_before - coalesce(aside.before, 0) as sequence
from placed asof left join aside
    on placed.partition = aside.partition and placed.address >= aside.address;

-- name: tick
-- Clock records that move the present of their partition, by number, and how many events came before each.
create or replace table tick as
with moved as (
    select partition, present_so_far_ms as present_ms, min(address) as address from aside
    where present_so_far_ms > 0 group by all
)
select partition, moved.present_ms, row_number() over (partition by partition order by address) as number,
    start + place - before + 1 as sequence
from moved join aside using (partition, address) join record using (partition, pos)
order by all;

-- name: next_tick
-- The first clock record that ends a generation that began at $began_ms.
select number, sequence, present_ms from tick
where partition = $partition and present_ms >= $bound_ms order by number limit 1;

-- name: last_tick
-- The last clock record before an event.
select number, present_ms from tick
where partition = $partition and sequence <= $sequence order by number desc limit 1;

-- name: sizes
select partition, generation_events, generation_ms,
    (select count(*) from event where event.partition = horizon.partition) as events
from horizon;

-- name: generation
-- Generations, and the number of the first event of each.
create or replace table generation (partition integer, generation bigint, first bigint);

-- name: generation_begins
insert into generation values ($partition, $generation, $first);

-- name: duplicate
-- A duplicate: the id was met before, in the same generation or in one of the generations before it that are
-- remembered. The occurrence that matters is the latest one, whether it counted or not.
create or replace table duplicate as
with begun as (
    select partition, first, max(generation) as generation from generation group by all
),
aged as (
    select met.partition, pos, place, event_id, sequence, generation, generations
    from (select * from repeated join horizon using (partition)) as met
    asof join begun on met.partition = begun.partition and met.sequence >= begun.first
),
judged as (
    select *, lag(generation) over (partition by partition, event_id order by sequence) as last_generation
    from aged
)
select partition, pos, place from judged where generation - last_generation <= generations;

-- name: counted
create or replace view counted as
select * from event anti join duplicate using (partition, pos, place);

-- name: acted
-- What counts as an action.
create or replace view acted as
select * from counted where kind in ('interaction', 'post');

-- name: reported
-- Readings with their subject.
create or replace view reported as
select *,
    case
        when post_id is not null then 'post/' || post_id
        when broadcast_id is not null then 'broadcast/' || broadcast_id
        else account
    end as subject
from counted where kind = 'reading';

-- name: minute
-- What each minute of a broadcast took. A minute takes an event only as long as the clock of its partition
-- has not passed its end by the grace; so this is, for a closed minute, what had been counted when it closed.
create or replace table minute as
with timed as (
    select partition, pos * getvariable('places') + place as address, broadcast_id,
        occurred_at_ms // getvariable('minute_ms') * getvariable('minute_ms') as start_ms, action, quantity
    from acted where broadcast_id is not null
),
bounds as (
    select distinct partition, start_ms, start_ms + getvariable('closing_ms') as bound_ms from timed
),
ticks as (
    select partition, present_so_far_ms as present_ms, min(address) as address from aside group by all
),
closings as (
    select bounds.partition, bounds.start_ms, ticks.address as closed_at
    from bounds asof left join ticks
        on bounds.partition = ticks.partition and bounds.bound_ms <= ticks.present_ms
)
select partition, broadcast_id, start_ms, action, sum(quantity) as quantity
from timed join closings using (partition, start_ms)
where closed_at is null or address < closed_at
group by all;

-- name: summed
-- The sums of every subject at the published positions: what comes after them is not yet counted, which is
-- no fault. s1 and s2 name the subject within its scope. newest_ms is told to the second.
create or replace table summed as
with alike as materialized (
    select partition, kind, platform, account, action, hashtags, campaign, post_format, broadcast_id, country,
        vip, post_id, sum(quantity) as quantity, max(occurred_at_ms) // 1000 * 1000 as newest_ms
    from acted join position using (partition) where pos <= last_offset
    group by all
),
named as (
    select *, 'account' as scope, platform as s1, account as s2 from alike
    union all
    select *, 'hashtag', unnest(hashtags), '' from alike
    union all
    select *, 'campaign', campaign, '' from alike where campaign is not null
    union all
    select *, 'format', post_format, '' from alike where post_format is not null
    union all
    select *, 'broadcast', broadcast_id, '' from alike where broadcast_id is not null
    union all
    select *, 'country', country, '' from alike where kind = 'interaction' and country is not null
    union all
    select *, 'vip', '', '' from alike where kind = 'interaction' and vip
    union all
    select *, 'post', platform, post_id from alike where kind = 'interaction' and post_id is not null
)
select partition, scope, s1, s2, action, sum(quantity) as total, max(newest_ms) as newest_ms
from named group by all;

-- name: placed
-- Readings up to the published positions, in the order of the log, and the newest time before each.
-- followed: whether it is part of the course of its figure, or of what an older release had counted before.
create or replace view placed as
select partition, platform, subject, metric, value::hugeint as value, occurred_at_ms,
    pos * getvariable('places') + place as address, pos > coalesce(since.last_offset, -1) as followed,
    max(occurred_at_ms) over (
        partition by partition, platform, subject, metric order by pos, place
        rows between unbounded preceding and 1 preceding
    ) as newest_ms
from reported join position using (partition) left join since using (partition, platform, subject, metric)
where pos <= position.last_offset;

-- name: moved
-- What each change of a figure comes to. A figure that fell away (by much, to less than half) is of another
-- count, whose jump is no gain and no loss; one that had fallen away in the change before and is back at half
-- or more had only been hidden, and is measured from the figure before that. Gauges do not move.
create or replace table moved as
with in_time as (
    select *, lag(value) over (partition by partition, platform, subject, metric order by address) as old
    from placed where newest_ms is null or occurred_at_ms >= newest_ms
),
changed as (
    select *, lag(old) over figure as older, coalesce(lag(followed) over figure, false) as old_followed
    from in_time where old is distinct from value
    window figure as (partition by partition, platform, subject, metric order by address)
),
compared as (
    select *, old - value >= getvariable('reset_least') and 2 * value < old as fell_away,
        old_followed and older - old >= getvariable('reset_least') and 2 * old < older
            and value > old and 2 * value >= older as came_back
    from changed
    where followed and old is not null and not list_contains(getvariable('gauges'), metric)
)
select partition, platform, subject, metric, address, fell_away, old,
    list_contains(getvariable('irrevocable'), metric) as irrevocable,
    case when fell_away then 0 when came_back then value - older else value - old end as moved_by,
    case when fell_away then value - old when came_back then older - old else 0 end as jumped_by,
    fell_away or coalesce(came_back, false) as jumped
from compared;

-- name: course
-- The figures of readings, a column each.
create or replace table course as
with stands as (
    select partition, platform, subject, metric, arg_max(value, address) as value,
        max(occurred_at_ms) as at_ms,
        coalesce(arg_max(value, address) filter (not followed), arg_min(value, address)) as baseline
    from placed where newest_ms is null or occurred_at_ms >= newest_ms
    group by all
),
left_out as (
    select partition, platform, subject, metric,
        count(*) filter (followed and occurred_at_ms < newest_ms) as late
    from placed group by all
),
came as (
    select partition, platform, subject, metric,
        sum(moved_by) filter (moved_by > 0) as gained,
        -sum(moved_by) filter (moved_by < 0) as lost,
        count(*) filter (moved_by < 0 and not irrevocable) as falls,
        count(*) filter (moved_by < 0 and irrevocable) as corrections,
        count(*) filter (jumped) as resets,
        sum(jumped_by) as reset_by,
        arg_max(case when fell_away then old else 0 end, address) as before_reset
    from moved group by all
)
select partition, platform, subject, metric, value, at_ms,
    case when list_contains(getvariable('gauges'), metric) then value else baseline end as first,
    coalesce(gained, 0) as gained, coalesce(lost, 0) as lost, coalesce(falls, 0) as falls,
    coalesce(corrections, 0) as corrections, coalesce(resets, 0) as resets, coalesce(reset_by, 0) as reset_by,
    late, coalesce(before_reset, 0) as before_reset
from stands join left_out using (partition, platform, subject, metric)
left join came using (partition, platform, subject, metric);

-- name: recounted
-- All figures at the published positions, one a row.
create or replace table recounted as
select partition, scope, s1, s2, action as metric, total as value from summed
union all
select partition, scope, s1, s2, 'last_ms', max(newest_ms)
from summed where scope not in ('country', 'vip') group by all
union all
select partition, 'minute', broadcast_id, start_ms::varchar, action, quantity
from minute join position using (partition)
where start_ms + getvariable('closing_ms') <= position.present_ms
union all
select partition, 'reading', platform, subject, metric, value from course
union all
select partition, 'broadcast', broadcast_id, '', 'phase ' || phase, arg_max(occurred_at_ms, (pos, place))
from counted join position using (partition) where kind = 'broadcast' and pos <= last_offset
group by all;

-- name: deltas
-- How each reading came where it is: figures of the metric with a word more, such as `followers gained`. A
-- count of 0 says the same as none.
insert into recounted
select partition, 'reading', platform, subject, metric || ' ' || name, figure
from (
    unpivot course
    on at_ms, first, gained, lost, falls, corrections, resets, reset_by, late, before_reset
    into name name value figure
)
where figure <> 0 or name = 'first';

-- name: counters
-- The counters of the positions, as figures too.
insert into recounted
with met as (
    select partition, count(*) as sequence from event join position using (partition)
    where pos <= last_offset group by all
),
kept as (
    select partition, count(*) as counted, max(occurred_at_ms) as watermark_ms
    from counted join position using (partition) where pos <= last_offset
    group by all
),
others as (
    select partition, count(*) filter (problem is not null) as refused, max(aside.present_ms) as present_ms
    from aside join position using (partition) where pos <= last_offset
    group by all
),
counters as (
    select partition,
        coalesce(sequence, 0) as sequence, coalesce(counted, 0) as counted,
        coalesce(sequence, 0) - coalesce(counted, 0) as duplicates, coalesce(refused, 0) as refused,
        coalesce(others.present_ms, 0) as present_ms, coalesce(watermark_ms, 0) as watermark_ms
    from position left join met using (partition) left join kept using (partition)
    left join others using (partition)
)
select partition, 'position', '', '', name, value
from (unpivot counters on columns(* exclude (partition)) into name name value value);
