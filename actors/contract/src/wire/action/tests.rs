//! Actions in both directions.

use serde_json::json;

use super::*;

#[test]
fn an_action_reads_back_as_it_was_written() {
    for wire in [
        json!({"op": "send", "chat_id": "c", "content": "x", "reply_to": null, "metadata": {"scope_id": "g"}}),
        json!({"op": "edit", "chat_id": "c", "message_id": "m", "content": "x"}),
        json!({"op": "typing", "chat_id": "c"}),
        json!({"op": "follow_up", "session_key": "s", "kind": "k", "content": "x", "metadata": {}}),
        json!({"op": "get_chat_info", "chat_id": "c"}),
        json!({"op": "send_media", "chat_id": "c", "media_kind": "photo", "source_url": "u", "filename": "f"}),
        json!({"op": "prompt", "chat_id": "c", "prompt_kind": "choice", "prompt_id": "p", "content": "x",
            "options": [{"id": "1", "label": "one", "style": "danger"}], "timeout_s": 60}),
        json!({"op": "react", "chat_id": "c", "message_id": "m", "emoji": "👍", "remove": true}),
        json!({"op": "thread_create", "chat_id": "c", "thread_name": "t", "message_id": "m"}),
        json!({"op": "thread_rename", "chat_id": "c", "message_id": "m", "thread_name": "t"}),
        json!({"op": "pin", "chat_id": "c", "until": 5}),
    ] {
        let action = Action::parse(&wire).unwrap();
        assert_eq!(serde_json::to_value(&action).unwrap(), wire);
        assert_eq!(action.op(), wire["op"]);
        assert_eq!(OPS.contains(&action.op()), !matches!(action, Action::Other(_)));
        assert_eq!(action.chat_id(), wire["chat_id"].as_str());
    }
}

#[test]
fn a_bad_action_is_refused_by_the_name_of_its_field() {
    for (wire, error) in [
        (json!([]), FieldError::WrongType("action")),
        (json!({"chat_id": "c"}), FieldError::Missing("op")),
        (json!({"op": "send", "content": "x"}), FieldError::Missing("chat_id")),
        (json!({"op": "send", "chat_id": 7, "content": "x"}), FieldError::WrongType("chat_id")),
    ] {
        assert_eq!(Action::parse(&wire), Err(ActionError(error)));
    }
}

#[test]
fn a_new_op_must_be_listed_in_the_descriptor() {
    let without_list = Descriptor::default();
    assert!(allowed("typing", &without_list) && !allowed("react", &without_list));
    let with_list = Descriptor { supported_ops: Some(vec!["react".into()]), ..Descriptor::default() };
    assert!(allowed("send", &with_list) && allowed("react", &with_list) && !allowed("typing", &with_list));
    assert!(!allowed("edit", &Descriptor { supports_edit: false, ..Descriptor::default() }));
}

#[test]
fn the_tenant_can_be_named_in_an_op_of_a_later_contract() {
    let mut action = Action::parse(&json!({"op": "pin", "chat_id": "c"})).unwrap();
    action.metadata_mut().unwrap().insert("scope_id".into(), json!("g"));
    assert_eq!(serde_json::to_value(&action).unwrap()["metadata"]["scope_id"], "g");
}
