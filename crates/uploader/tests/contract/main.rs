//! One suite that every store is held to: in memory, in a directory, and on S3: our own server in process, and one that environment variables name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cases;
mod stores;
mod versions;

/// Makes each case of `$cases` a test of the stores that each `$place` opens.
macro_rules! contract {
    ($cases:ident: $($place:ident)*; $list:tt) => {
        $(contract!(@store $cases $place $list);)*
    };
    (@store $cases:ident $place:ident [$($case:ident)*]) => {
        mod $place {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    if let Some(place) = crate::stores::$place().await {
                        crate::$cases::$case(&*place.store).await;
                        crate::stores::clear(&*place.store).await;
                    }
                }
            )*
        }
    };
}

contract! {
    cases: memory directory s3_in_memory s3_on_disk s3_elsewhere memory_with_versions s3_with_versions;
    [
        what_was_put_is_read_back
        a_second_put_replaces_the_first
        a_range_is_cut_to_the_object
        what_is_not_there_is_not_found
        deleting_twice_succeeds
        deleting_at_once_succeeds
        a_folder_is_gone_with_its_last_object
        a_listing_is_in_the_order_of_keys
        a_listing_is_in_the_order_of_whole_keys
        a_listing_has_only_its_prefix
        a_listing_has_more_than_a_page
        folders_are_the_names_with_something_below
        put_if_absent_leaves_what_is_there
        put_if_absent_has_one_winner
        replace_if_match_wants_the_object_it_saw
        replace_if_match_has_one_winner
        finish_if_absent_has_one_winner
        odd_keys_are_kept_to_the_letter
        a_backslash_is_no_slash
        an_empty_object_is_an_object
        an_upload_without_parts_is_an_empty_object
        uploads_of_one_to_three_parts_are_whole
        parts_come_in_any_order_and_at_once
        a_part_may_be_sent_again
        a_missing_part_stops_the_finish
        a_finish_if_absent_leaves_what_is_there
        nothing_is_seen_of_an_unfinished_upload
        an_aborted_upload_leaves_nothing
        an_unfinished_upload_is_listed_and_aborted
        the_probe_finds_every_ability_and_leaves_nothing
        what_is_kept_beside_an_object_comes_back
        a_fetch_wants_the_object_it_saw
        a_server_copies_what_it_was_shown
    ]
}

contract! {
    versions: memory_with_locks s3_with_locks s3_elsewhere_with_locks;
    [
        every_version_is_listed_the_newest_first
        a_deletion_hides_what_can_still_be_read
        a_version_is_deleted_for_good_and_only_it
        a_range_of_a_version_is_read
        versions_fill_more_than_a_page
        a_condition_is_about_what_a_read_finds
        a_locked_version_is_not_deleted
        a_lock_is_extended_and_never_shortened
        what_is_not_there_has_no_lock_and_gets_none
        a_lock_ends
        the_probe_tells_versions_and_locks
    ]
}

contract! {
    versions: memory_that_locks s3_that_locks s3_elsewhere_that_locks;
    [
        a_bucket_that_locks_by_default_is_written_to_and_reported
    ]
}

contract! {
    versions: memory_without_versions directory_without_versions s3_without_versions s3_elsewhere_without_versions;
    [
        a_store_without_versions_says_so
    ]
}
