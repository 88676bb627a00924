-- The published figures: what engagement.totals.v1 says.

-- name: published_record
-- The latest record of every key of every partition. $file: a Parquet file.
create or replace table published_record as
select partition, key, value,
    case when json_valid(key) then json_type(key) end as key_type,
    case when json_valid(value) then json_type(value) end as value_type
from read_parquet($file)
qualify row_number() over (partition by partition, key order by "offset" desc) = 1;

-- name: unreadable
-- Records that schemas.totals does not know. (A value of null removes an entry.)
create or replace table unreadable as
select partition, coalesce(key, '') as key from published_record
where value is not null
    and (coalesce(key_type, '') <> 'ARRAY' or coalesce(value_type, '') <> 'OBJECT');

-- name: readable
-- What is left: entries with a key and a value that can be read.
delete from published_record
where value is null or coalesce(key_type, '') <> 'ARRAY' or coalesce(value_type, '') <> 'OBJECT';

-- name: checkpoint
-- Up to where each partition is counted, its stream time there, and its rule of duplicates.
create or replace table checkpoint as
select partition,
    try_cast(value ->> 'offset' as bigint) as last_offset,
    coalesce(try_cast(value ->> 'stream_time_ms' as bigint), 0) as stream_time_ms,
    try_cast(value ->> 'segment_events' as bigint) as segment_events,
    try_cast(value ->> 'segments' as bigint) as segments,
    -- A release whose segments had no limit in time published none.
    coalesce(try_cast(value ->> 'segment_ms' as bigint), 1::bigint << 61) as segment_ms,
    value as entry
from published_record where key ->> 0 = 'checkpoint';

-- name: unreadable_checkpoint
insert into unreadable
select partition, '["checkpoint"]' from checkpoint
where last_offset is null or coalesce(segment_events, 0) < 1 or coalesce(segments, 0) < 1;

-- name: readable_checkpoint
delete from checkpoint where last_offset is null;

-- name: dedup_window
-- The rule of duplicates of every partition of the log: its own, or else the most frequent, or else the default.
create or replace table dedup_window as
with given as (
    select partition, segment_events, segments, segment_ms from checkpoint
    where segment_events >= 1 and segments >= 1 and segment_ms >= 1
),
most_frequent as (
    select segment_events, segments, segment_ms from given
    group by all order by count(*) desc, segment_events, segments, segment_ms limit 1
),
fallback as (
    select coalesce(max(segment_events), $segment_events) as segment_events,
        coalesce(max(segments), $segments) as segments,
        coalesce(max(segment_ms), $segment_ms) as segment_ms
    from most_frequent
)
select partition,
    coalesce(given.segment_events, fallback.segment_events) as segment_events,
    coalesce(given.segments, fallback.segments) as segments,
    coalesce(given.segment_ms, fallback.segment_ms) as segment_ms
from (select distinct partition from record) left join given using (partition), fallback;

-- name: published_entry
-- The entries by scope and subject; s1, s2 and s3 are the parts of the key after the scope.
create or replace table published_entry as
select partition, key ->> 0 as scope, coalesce(key ->> 1, '') as s1, coalesce(key ->> 2, '') as s2,
    coalesce(key ->> 3, '') as s3, value
from published_record where key ->> 0 <> 'checkpoint';

-- name: since
-- Readings whose history an older release did not keep, and up to which offset it counted them.
create or replace table since as
select partition, s1 as platform, s2 as subject, s3 as metric,
    try_cast(value ->> 'since' as bigint) as last_offset
from published_entry where scope = 'reading' and try_cast(value ->> 'since' as bigint) >= 0;

-- name: published
-- The figures, one a row, as in recounted. A count of 0 says the same as no entry. What is no number becomes -1,
-- which no figure can be.
create or replace table published as
with counted as (
    select partition, scope, s1, s2,
        unnest(map_entries(from_json(value -> 'actions', '"MAP(VARCHAR, VARCHAR)"'))) as action
    from published_entry
    where (value -> 'actions') is not null and (scope <> 'minute' or value ->> 'closed' = 'true')
),
phases as (
    select partition, s1, unnest(map_entries(from_json(value -> 'phases', '"MAP(VARCHAR, VARCHAR)"'))) as phase
    from published_entry where scope = 'broadcast'
),
published as (
    select partition, scope, s1, s2, action.key as metric, action.value as value from counted
    union all
    select partition, scope, s1, s2, 'last_ms', value ->> 'last_ms' from published_entry
    where scope not in ('reading', 'minute') and value ->> 'last_ms' <> '0'
    union all
    select partition, 'broadcast', s1, '', 'phase ' || phase.key, phase.value from phases
    union all
    select partition, 'reading', s1, s2, s3, coalesce(value ->> 'value', '') from published_entry
    where scope = 'reading'
    union all
    select partition, 'reading', s1, s2, s3 || ' ' || name, value ->> name
    from published_entry, (select unnest(
        ['at_ms', 'first', 'gained', 'lost', 'falls', 'downward_adjustments', 'resets', 'reset_by', 'late',
            'before_reset']) as name)
    where scope = 'reading' and (value ->> name <> '0' or value ->> name is not null and name = 'first')
    union all
    select partition, 'checkpoint', '', '', name,
        coalesce(entry ->> name, case name when 'voided' then '0' else '' end)
    from checkpoint, (select unnest(
        ['ordinal', 'counted', 'duplicates', 'rejected', 'voided', 'late', 'stream_time_ms', 'max_event_time_ms']) as name)
)
select partition, scope, s1, s2, metric, coalesce(try_cast(value as hugeint), -1) as value from published
where scope in ('reading', 'checkpoint') or value is distinct from '0';

-- name: published_rolling
-- The stored buckets of the rolling counts, as in rolling. A row is [scope, ...subject, action, count]; what is
-- no number becomes -1.
create or replace table published_rolling as
with stored as (
    select partition, try_cast(s1 as bigint) as width_ms, try_cast(s2 as bigint) as start_ms,
        unnest(from_json(value -> 'rows', '["JSON"]')) as row
    from published_entry where scope = 'bucket'
)
select partition, width_ms, start_ms, row ->> 0 as scope, row ->> 1 as s1,
    case when json_array_length(row) > 4 then row ->> 2 else '' end as s2, row ->> '$[#-2]' as action,
    sum(coalesce(try_cast(row ->> '$[#-1]' as hugeint), -1)) as value
from stored group by all;

-- name: not_followed
-- An entry of an older release says nothing of the history of its figure.
delete from recounted
where scope = 'reading' and contains(metric, ' ') and not ends_with(metric, ' at_ms')
    and (partition, s1, s2, split_part(metric, ' ', 1)) in (
        select (partition, s1, s2, s3) from published_entry
        where scope = 'reading' and value ->> 'first' is null
    );

-- name: dropped_minutes
-- Closed minutes that are long past need not be published any more.
delete from recounted
where scope = 'minute'
    and (partition, s1, s2) not in (select (partition, s1, s2) from published where scope = 'minute')
    and exists (
        from checkpoint
        where checkpoint.partition = recounted.partition
            and try_cast(recounted.s2 as bigint) + getvariable('kept_ms') <= checkpoint.stream_time_ms
    );
