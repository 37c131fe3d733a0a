//! The tests that the ledger passes on every database: each is a function over a [`TestHome`].
//!
//! Another database is one more line at the end. What one database alone can do, such as a corrupt file, is tested beside it.

mod ages;
mod changing;
mod conversations;
mod erasing;
mod listing;
mod moving;
pub(in crate::ledger) mod people;
mod recording;
mod retention;
mod retrying;
mod settling;
pub(in crate::ledger) mod transactions;
mod waiting;

use super::*;

/// Declares a test for each function of the suite, on the database of one kind of home.
macro_rules! suite_on {
    ($home:ty) => {
        suite_on! { on $home:
            ages {
                the_oldest_row_in_each_state_is_the_next_one_when_it_has_left_the_state
            }
            changing {
                an_event_that_ended_waits_again_and_one_that_waits_runs_or_is_done_does_not
                what_is_no_event_or_was_erased_does_not_run
                a_reply_is_sent_again_once_as_a_new_row_with_a_mark_if_it_may_have_arrived
                that_a_reply_was_sent_again_is_known_whatever_a_connector_says_of_it
                what_is_dropped_is_refused_and_its_chat_is_notified_if_it_has_no_answer
                a_reply_that_is_being_sent_or_whose_turn_runs_is_not_dropped
            }
            conversations {
                a_session_keeps_its_last_entries_and_those_of_others_stay
                a_session_of_a_failed_transaction_has_a_valid_row_when_it_is_used_again
            }
            erasing {
                a_reply_that_is_recorded_while_an_erasure_runs_does_not_outlive_its_event
                an_event_is_left_for_the_next_erasure_with_a_reply_that_was_not_done
                what_has_no_profile_is_of_the_person_in_each
                a_frame_that_only_mentions_a_person_is_erased_and_not_exported
                a_repeated_result_brings_no_words_of_a_connector_back_after_an_erasure
            }
            listing {
                rows_are_listed_by_state_profile_and_age
                a_list_in_pages_has_each_row_once
                a_page_looks_at_a_limited_number_of_rows
                a_row_is_shown_with_its_times_and_with_its_text_only_if_it_is_asked_for
            }
            moving {
                a_mark_that_comes_late_moves_no_event_back_and_none_out_of_a_final_state
                a_mark_that_comes_late_moves_no_reply_back_and_none_out_of_a_final_state
                an_end_of_a_turn_that_comes_too_late_adds_nothing_to_the_conversation
            }
            people {
                an_export_has_each_row_once_with_its_text
                an_export_of_a_person_has_nothing_of_others
                a_person_is_erased_and_a_repeated_event_is_still_found
                what_is_open_is_not_erased_and_what_was_interrupted_does_not_run_again
                each_kind_of_what_belongs_to_a_person_is_exported_and_erased_with_nothing_of_others
                a_list_of_a_person_has_the_rows_that_an_export_of_the_person_has
            }
            recording {
                everything_recorded_is_there_after_reopening
                the_same_frame_or_the_same_message_is_a_duplicate_of_the_first
                without_any_name_nothing_is_a_duplicate
                a_duplicate_is_still_one_after_reopening
                two_repeats_in_one_group_are_one_event
                an_event_of_a_failed_transaction_is_new
                each_running_counts_an_attempt_and_a_mark_without_a_turn_keeps_it
                a_list_continues_after_the_last_row_of_the_previous_page
                marking_a_missing_row_is_an_error
                lists_and_counts_are_the_same_after_reopening
                a_mark_of_a_failed_transaction_leaves_the_row_in_its_lists
                each_operation_of_a_batch_has_its_own_answer
                an_event_recorded_with_its_turn_runs_from_then_on
                turns_that_never_started_are_withdrawn_and_no_others
                an_event_in_a_final_state_does_not_run_again
                a_repeated_record_of_a_reply_is_answered_with_the_row_of_the_first
                a_reply_that_waits_again_was_no_attempt
            }
            retention {
                an_open_row_among_young_ones_hides_no_expired_rows_behind_them
                ended_rows_are_deleted_by_age_and_open_ones_never
                rows_in_excess_are_deleted_oldest_first_and_the_newest_row_stays
                rows_deleted_before_their_time_are_counted
                rows_in_excess_are_the_oldest_also_over_many_sweeps_with_new_rows_between
                a_backlog_of_expired_rows_is_deleted_in_slices
            }
            retrying {
                the_newest_interrupted_event_of_a_chat_is_found_behind_any_number_of_others
                the_interrupted_events_of_a_chat_are_those_of_all_its_sessions_newest_first
                starts_within_the_window_are_counted_each_once_and_over_restarts
            }
            settling {
                the_end_of_a_turn_is_written_with_all_its_parts
                a_reply_whose_row_is_missing_does_not_keep_the_event_running
                an_end_of_a_turn_that_is_handed_over_twice_adds_to_the_conversation_once
            }
            transactions {
                a_transaction_that_is_dropped_leaves_nothing
                a_transaction_that_panics_leaves_nothing
                a_probe_and_the_checks_change_nothing
                a_commit_reports_whether_anything_was_written
            }
            waiting {
                waiting_events_are_read_in_pages_in_order_of_arrival
                each_dispatcher_lists_the_events_of_its_chats_and_together_they_list_each_once
                a_page_ends_after_so_many_rows_also_if_they_are_all_of_another_dispatcher
                one_event_is_read_with_its_content_and_a_missing_one_is_an_error
                each_chat_is_notified_once_how_many_of_its_messages_a_drain_refused_also_over_a_restart
                a_dispatcher_notifies_its_own_chats_only
                a_refused_event_that_is_marked_again_is_no_longer_unread
            }
        }
    };
    (on $home:ty: $($room:ident { $($test:ident)+ })+) => {
        $(mod $room {
            $(
                #[test]
                fn $test() {
                    $crate::ledger::tests::suite::$room::$test::<$home>();
                }
            )+
        })+
    };
}

mod sqlite {
    suite_on!(crate::ledger::sqlite::tests::Home);
}
