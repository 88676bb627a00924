-- Reducing what is exported.

-- name: latest
-- The latest record of each key of each partition. $file: a Parquet file.
select * from read_parquet($file)
qualify row_number() over (partition by partition, key order by "offset" desc) = 1
order by partition, "offset";
