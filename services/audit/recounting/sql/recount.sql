-- Counts the log again: duplicates, figures per subject, minutes of broadcasts, rolling counts.
--
-- record_offset is the offset of a record, entry_index the index of an entry within it, record_timestamp_ms the
-- record's own time. address is record_offset and entry_index in one number; it rises in log order within a
-- partition. Most rows are events whose id occurs once, so no statement sorts all of them: what depends on
-- order is worked out only for the few rows that need it.

-- name: record
-- The records of the log. size: how many entries a record had; found: how many of them are in the export;
-- start: how many entries its partition had before it. $files: Parquet.
create or replace table record as
with sized as (
    select partition, "offset" as record_offset, max("index") + 1 as size, count(*) as found
    from read_parquet($files) group by all
)
select *,
    coalesce(sum(size) over (
        partition by partition order by record_offset rows between unbounded preceding and 1 preceding
    ), 0) as start
from sized;

-- name: non_event
-- The entries that are not events: clock records, and what cannot be read. number counts them within their
-- partition from 1; max_stream_time_ms is the stream time of the partition after this entry.
create or replace table non_event as
with entry as (
    select partition, "offset" as record_offset, "index" as entry_index,
        "offset" * getvariable('entries_bound') + "index" as address,
        record_timestamp_ms, problem, stream_time_ms
    from read_parquet($files) where kind is null or kind = 'clock'
)
select *,
    row_number() over in_order as number,
    coalesce(max(stream_time_ms) over in_order, 0) as max_stream_time_ms
from entry
window in_order as (
    partition by partition order by address rows between unbounded preceding and current row
);

-- name: event
-- The events of the log, duplicates included. A post counts as one action `post`. A void is a row of its own,
-- with the columns of the event that it takes back.
create or replace table event as
select
    partition, "offset" as record_offset, "index" as entry_index, record_timestamp_ms,
    kind, event_id, hash(event_id) as id_hash, occurred_at_ms, platform, account,
    case when 'post' in (kind, void_kind) then 'post' else action end as action,
    case when 'post' in (kind, void_kind) then 1 else coalesce(quantity, 1) end as quantity,
    nullif(post_id, '') as post_id, nullif(broadcast_id, '') as broadcast_id,
    list_distinct(hashtags) as hashtags, nullif(campaign, '') as campaign, post_format,
    void_partition, void_offset, void_index, void_kind, void_event_id, reason, "by", voided_at_ms,
    nullif(country, '') as country, coalesce(verified, false) as vip, metric, value, phase
from read_parquet($files) where kind is not null and kind <> 'clock';

-- name: repeated
-- Events whose id may occur more than once in their partition (by its hash), with their ordinal: how many
-- events the partition had before.
create or replace table repeated as
with candidate as (
    select partition, record_offset, entry_index, event_id
    from event semi join (
        select partition, id_hash from event group by all having count(*) > 1
    ) using (partition, id_hash)
),
located as (
    select candidate.*, start + entry_index as entries_before,
        record_offset * getvariable('entries_bound') + entry_index as address
    from candidate join record using (partition, record_offset)
)
select located.partition, located.record_offset, located.entry_index, located.event_id,
    entries_before - coalesce(non_event.number, 0) as ordinal
from located asof left join non_event
    on located.partition = non_event.partition and located.address >= non_event.address;

-- name: tick
-- The clock records that move the stream time of their partition, numbered; ordinal is how many events came
-- before each.
create or replace table tick as
with advance as (
    select partition, max_stream_time_ms as stream_time_ms, min(address) as address from non_event
    where max_stream_time_ms > 0 group by all
)
select partition, advance.stream_time_ms, row_number() over (partition by partition order by address) as number,
    start + entry_index - non_event.number + 1 as ordinal
from advance join non_event using (partition, address) join record using (partition, record_offset)
order by all;

-- name: next_tick
-- The first clock record at or after $bound_ms, which ends a dedup segment.
select number, ordinal, stream_time_ms from tick
where partition = $partition and stream_time_ms >= $bound_ms order by number limit 1;

-- name: last_tick
-- The last clock record before an event.
select number, stream_time_ms from tick
where partition = $partition and ordinal <= $ordinal order by number desc limit 1;

-- name: sizes
-- The rule of dedup segments of each partition, and how many events it has.
select partition, segment_events, segment_ms,
    (select count(*) from event where event.partition = dedup_window.partition) as events
from dedup_window;

-- name: segment
-- The dedup segments of each partition, and the ordinal of the first event of each.
create or replace table segment (partition integer, segment bigint, first bigint);

-- name: segment_begins
insert into segment values ($partition, $segment, $first);

-- name: duplicate
-- A duplicate: the id was seen before, in the same dedup segment or in one of the `segments` before it. What
-- matters is the latest occurrence before, whether it counted or not.
create or replace table duplicate as
with segment_start as (
    select partition, first, max(segment) as segment from segment group by all
),
occurrence as (
    select repeated.partition, record_offset, entry_index, event_id, ordinal, segment
    from repeated asof join segment_start
        on repeated.partition = segment_start.partition and repeated.ordinal >= segment_start.first
),
compared as (
    select *, lag(segment) over (partition by partition, event_id order by ordinal) as last_segment
    from occurrence
)
select partition, record_offset, entry_index from compared join dedup_window using (partition)
where segment - last_segment <= segments;

-- name: counted
-- The events that count.
create or replace view counted as
select * from event anti join duplicate using (partition, record_offset, entry_index);

-- name: void
-- The voids of the log. problem says why one does not hold: it has to name, and to carry, an event that counts and
-- stands before it in its partition. An event is voided once.
create or replace table void as
with void as (
    select * from counted where kind = 'void'
),
judged as (
    select void.*, coalesce((case
        when void.event_id <> concat_ws(':', 'void', void.void_partition, void.void_offset, void.void_index)
            then 'its id does not name the address'
        when void.void_partition <> void.partition then 'it names another partition'
        when void.void_offset >= void.record_offset then 'it names no event of a record before it'
        when voided.partition is null then 'no event that counts stands at the address that it names'
        when (void.void_kind, void.void_event_id, void.occurred_at_ms, void.platform, void.account, void.action,
                void.quantity, void.post_id, void.broadcast_id, void.hashtags, void.campaign, void.post_format,
                void.country, void.vip)
            is distinct from (voided.kind, voided.event_id, voided.occurred_at_ms, voided.platform,
                voided.account, voided.action, voided.quantity, voided.post_id, voided.broadcast_id,
                voided.hashtags, voided.campaign, voided.post_format, voided.country, voided.vip)
            then 'it carries another event than the one at the address that it names'
        when row_number() over (
            partition by void.partition, void.void_offset, void.void_index order by void.record_offset, void.entry_index
        ) > 1 then 'the event was voided before'
    end), '') as void_problem
    from void left join counted as voided
        on void.partition = voided.partition and void.void_offset = voided.record_offset
            and void.void_index = voided.entry_index and voided.kind <> 'void'
)
select * from judged;

-- name: voids
-- For the report: who voided what, when and why.
select partition, void_offset as "offset", void_index as "index", void_event_id as event_id, platform, account,
    action, quantity, occurred_at_ms, reason, "by", voided_at_ms, void_problem as problem
from void join checkpoint using (partition) where record_offset <= last_offset
order by voided_at_ms, partition, record_offset, entry_index;

-- name: acted
-- Interactions and posts that count. One that was voided counts up to its void, which is a row with a negative
-- quantity.
create or replace view acted as
select * from counted where kind in ('interaction', 'post')
union all
select * exclude (void_problem) replace (void_kind as kind, -quantity as quantity)
from void where void_problem = '';

-- name: reported
-- Readings that count, with their subject.
create or replace view reported as
select *,
    case
        when post_id is not null then 'post/' || post_id
        when broadcast_id is not null then 'broadcast/' || broadcast_id
        else account
    end as subject
from counted where kind = 'reading';

-- name: minute
-- The counts of each minute of a broadcast. A minute counts an event only while stream time of its partition
-- has not passed the minute's end by the grace: so this is what a closed minute had counted when it closed.
create or replace table minute as
with timed as (
    select partition, record_offset * getvariable('entries_bound') + entry_index as address, broadcast_id,
        occurred_at_ms // getvariable('minute_ms') * getvariable('minute_ms') as start_ms, action, quantity
    from acted where broadcast_id is not null
),
bounds as (
    select distinct partition, start_ms, start_ms + getvariable('closing_ms') as bound_ms from timed
),
ticks as (
    select partition, max_stream_time_ms as stream_time_ms, min(address) as address from non_event group by all
),
closings as (
    select bounds.partition, bounds.start_ms, ticks.address as closed_at
    from bounds asof left join ticks
        on bounds.partition = ticks.partition and bounds.bound_ms <= ticks.stream_time_ms
)
select partition, broadcast_id, start_ms, action, sum(quantity) as quantity
from timed join closings using (partition, start_ms)
where closed_at is null or address < closed_at
group by all having sum(quantity) <> 0;

-- name: subjects
-- What is counted, and how a subject is named: a row per subject of each row of a table or view of events. s1
-- and s2 name the subject within its scope.
create or replace macro subjects(events) as table
    select *, 'account' as scope, platform as s1, account as s2 from query_table(events)
    union all
    select *, 'hashtag', unnest(hashtags), '' from query_table(events)
    union all
    select *, 'campaign', campaign, '' from query_table(events) where campaign is not null
    union all
    select *, 'format', post_format, '' from query_table(events) where post_format is not null
    union all
    select *, 'broadcast', broadcast_id, '' from query_table(events) where broadcast_id is not null
    union all
    select *, 'country', country, '' from query_table(events) where kind = 'interaction' and country is not null
    union all
    select *, 'vip', '', '' from query_table(events) where kind = 'interaction' and vip
    union all
    select *, 'post', platform, post_id from query_table(events) where kind = 'interaction' and post_id is not null;

-- name: alike
-- Events at the published checkpoints that are counted alike: what comes after them is not yet counted, which
-- is no fault. newest_ms is published to the second.
create or replace table alike as
select partition, kind, platform, account, action, hashtags, campaign, post_format, broadcast_id, country,
    vip, post_id, sum(quantity) as quantity, max(occurred_at_ms) // 1000 * 1000 as newest_ms
from acted join checkpoint using (partition) where record_offset <= last_offset
group by all;

-- name: bucket_level
-- The buckets that rolling counts are kept in, finest first. A level reaches back length_ms from the end of the
-- bucket that stream time lies in, rounded down to whole buckets of the next level (coarser_ms).
create or replace table bucket_level as
from (values
    (1_000::bigint, 300_000::bigint, 60_000::bigint),
    (60_000, 3_600_000, 600_000),
    (600_000, 86_400_000, 600_000)
) as level (width_ms, length_ms, coarser_ms);

-- name: bucket_levels
select * from bucket_level order by width_ms;

-- name: late
-- Events that were too late for every bucket when they came: stream time had reached the end of the widest
-- window that begins with the event's bucket. They count in the totals, and in no rolling count.
create or replace table late as
with widest as (
    select width_ms, length_ms from bucket_level order by length_ms desc limit 1
),
timed as (
    select partition, record_offset, record_offset * getvariable('entries_bound') + entry_index as address,
        occurred_at_ms // width_ms * width_ms + length_ms as bound_ms
    from acted, widest
    -- Only events that stream time has left that far behind: in most logs they are few.
    where void_offset is null and bound_ms <= (select max(max_stream_time_ms) from non_event)
),
bounds as (
    select distinct partition, bound_ms from timed
),
ticks as (
    select partition, max_stream_time_ms as stream_time_ms, min(address) as address from non_event group by all
),
passed as (
    select bounds.partition, bounds.bound_ms, ticks.address as passed_at
    from bounds asof join ticks
        on bounds.partition = ticks.partition and bounds.bound_ms <= ticks.stream_time_ms
)
select partition, count(*) as late
from timed join passed using (partition, bound_ms) join checkpoint using (partition)
where address > passed_at and record_offset <= last_offset
group by all;

-- name: bucket_range
-- The event times that each level stores at the published checkpoint: from from_ms up to, but without,
-- until_ms. An event is stored once: in the finest level that still reaches back to its time.
create or replace table bucket_range as
with reach as (
    select partition, width_ms,
        case when stream_time_ms > 0 then
            ((stream_time_ms // width_ms + 1) * width_ms - length_ms) // coarser_ms * coarser_ms
        else 0 end as from_ms
    from checkpoint, bucket_level
)
select *,
    coalesce(lag(from_ms) over (partition by partition order by width_ms), 1::bigint << 62) as until_ms
from reach;

-- name: rolling
-- The buckets of the rolling counts at the published checkpoints. An account or hashtag of '' is the sum over
-- all of them.
create or replace table rolling as
with timed as (
    select partition, width_ms, occurred_at_ms // width_ms * width_ms as start_ms, platform, account, action,
        hashtags, sum(quantity) as quantity
    from acted join checkpoint using (partition) join bucket_range using (partition)
    where record_offset <= last_offset and occurred_at_ms >= from_ms and occurred_at_ms < until_ms
    group by all
),
named as (
    select *, 'account' as scope, platform as s1, account as s2 from timed
    union all
    select *, 'account', '', '' from timed
    union all
    select *, 'hashtag', unnest(hashtags), '' from timed
    union all
    select * exclude (quantity), quantity * len(hashtags), 'hashtag', '', '' from timed where len(hashtags) > 0
)
select partition, width_ms, start_ms, scope, s1, s2, action, sum(quantity) as value
from named group by all having sum(quantity) <> 0;

-- name: summed
-- The sums of every subject.
create or replace table summed as
select partition, scope, s1, s2, action, sum(quantity) as total, max(newest_ms) as newest_ms
from subjects('alike') group by all;

-- name: reading
-- Readings up to the published checkpoints. newest_ms: the newest event time of the same figure before; an older
-- reading is late. followed: whether the published history of the figure covers this reading.
create or replace view reading as
select partition, platform, subject, metric, value::hugeint as value, occurred_at_ms,
    record_offset * getvariable('entries_bound') + entry_index as address,
    record_offset > coalesce(since.last_offset, -1) as followed,
    max(occurred_at_ms) over (
        partition by partition, platform, subject, metric order by record_offset, entry_index
        rows between unbounded preceding and 1 preceding
    ) as newest_ms
from reported join checkpoint using (partition) left join since using (partition, platform, subject, metric)
where record_offset <= checkpoint.last_offset;

-- name: reading_change
-- What each change of a figure means. A figure that fell away (by reset_least or more, to less than half)
-- counts from another start: the jump is neither gain nor loss. One that fell away in the change before and is
-- back at half or more was only hidden, and is compared with the figure before that. Gauges have no history.
create or replace table reading_change as
with in_time as (
    select *, lag(value) over (partition by partition, platform, subject, metric order by address) as old
    from reading where newest_ms is null or occurred_at_ms >= newest_ms
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

-- name: history
-- Where each figure of readings stands, and its history, a column each.
create or replace table history as
with latest as (
    select partition, platform, subject, metric, arg_max(value, address) as value,
        max(occurred_at_ms) as at_ms,
        coalesce(arg_max(value, address) filter (not followed), arg_min(value, address)) as baseline
    from reading where newest_ms is null or occurred_at_ms >= newest_ms
    group by all
),
late_reading as (
    select partition, platform, subject, metric,
        count(*) filter (followed and occurred_at_ms < newest_ms) as late
    from reading group by all
),
change as (
    select partition, platform, subject, metric,
        sum(moved_by) filter (moved_by > 0) as gained,
        -sum(moved_by) filter (moved_by < 0) as lost,
        count(*) filter (moved_by < 0 and not irrevocable) as falls,
        count(*) filter (moved_by < 0 and irrevocable) as downward_adjustments,
        count(*) filter (jumped) as resets,
        sum(jumped_by) as reset_by,
        arg_max(case when fell_away then old else 0 end, address) as before_reset
    from reading_change group by all
)
select partition, platform, subject, metric, value, at_ms,
    case when list_contains(getvariable('gauges'), metric) then value else baseline end as first,
    coalesce(gained, 0) as gained, coalesce(lost, 0) as lost, coalesce(falls, 0) as falls,
    coalesce(downward_adjustments, 0) as downward_adjustments, coalesce(resets, 0) as resets,
    coalesce(reset_by, 0) as reset_by, late, coalesce(before_reset, 0) as before_reset
from latest join late_reading using (partition, platform, subject, metric)
left join change using (partition, platform, subject, metric);

-- name: recounted
-- All figures at the published checkpoints, one a row.
create or replace table recounted as
select partition, scope, s1, s2, action as metric, total as value from summed where total <> 0
union all
select partition, scope, s1, s2, 'last_ms', max(newest_ms) from summed group by all
union all
select partition, 'minute', broadcast_id, start_ms::varchar, action, quantity
from minute join checkpoint using (partition)
where start_ms + getvariable('closing_ms') <= checkpoint.stream_time_ms
union all
select partition, 'reading', platform, subject, metric, value from history
union all
select partition, 'broadcast', broadcast_id, '', 'phase ' || phase, arg_max(occurred_at_ms, (record_offset, entry_index))
from counted join checkpoint using (partition) where kind = 'broadcast' and record_offset <= last_offset
group by all;

-- name: deltas
-- The history of each reading, as figures whose metric has one more word, such as `followers gained`. A count
-- of 0 says the same as none.
insert into recounted
select partition, 'reading', platform, subject, metric || ' ' || name, figure
from (
    unpivot history
    on at_ms, first, gained, lost, falls, downward_adjustments, resets, reset_by, late, before_reset
    into name name value figure
)
where figure <> 0 or name = 'first';

-- name: counters
-- The counters of the checkpoints, as figures too.
insert into recounted
with events as (
    select partition, count(*) as ordinal from event join checkpoint using (partition)
    where record_offset <= last_offset group by all
),
counted_events as (
    select partition, count(*) as counted, max(occurred_at_ms) as max_event_time_ms
    from counted join checkpoint using (partition) where record_offset <= last_offset and kind <> 'void'
    group by all
),
voids as (
    select partition, count(*) filter (void_problem = '') as voided,
        count(*) filter (void_problem <> '') as false_voids
    from void join checkpoint using (partition) where record_offset <= last_offset
    group by all
),
non_events as (
    select partition, count(*) filter (problem is not null) as rejected,
        max(non_event.stream_time_ms) as stream_time_ms
    from non_event join checkpoint using (partition) where record_offset <= last_offset
    group by all
),
counters as (
    select partition,
        coalesce(ordinal, 0) as ordinal, coalesce(counted, 0) as counted,
        coalesce(ordinal, 0) - coalesce(counted, 0) - coalesce(voided, 0) - coalesce(false_voids, 0)
            as duplicates,
        coalesce(rejected, 0) + coalesce(false_voids, 0) as rejected, coalesce(voided, 0) as voided,
        coalesce(late, 0) as late,
        coalesce(non_events.stream_time_ms, 0) as stream_time_ms,
        coalesce(max_event_time_ms, 0) as max_event_time_ms
    from checkpoint left join events using (partition) left join counted_events using (partition)
    left join voids using (partition) left join non_events using (partition) left join late using (partition)
)
select partition, 'checkpoint', '', '', name, value
from (unpivot counters on columns(* exclude (partition)) into name name value value);
