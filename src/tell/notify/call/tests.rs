//! One call: how long it lasts, how much of the answer is read, and when it is made again.

use serde_json::json;

use super::*;
use crate::tell::notify::{
    fakes::{said, serve},
    testing::{CANARY, web},
};

#[tokio::test]
async fn a_long_answer_is_cut_and_a_number_is_all_that_is_heard() {
    let long = json!({"errcode": 0, "errmsg": "x".repeat(2 * LONGEST_ANSWER)}).to_string();
    let fake = serve(move |_| said(200, &long)).await;
    let answer = Call::post(fake.at("/"), "{}".into()).make(&web()).await.unwrap();
    assert_eq!(answer.body.len(), LONGEST_ANSWER);
    let why = "the answer has no errcode; is the address the right one?".to_owned();
    assert_eq!(answer.number("errcode"), Err(Fault::Later(why, None)));

    let fake = serve(|_| said(200, json!({"errcode": CANARY}))).await;
    let answer = Call::post(fake.at("/"), "{}".into()).make(&web()).await.unwrap();
    assert!(!format!("{:?}", answer.number("errcode")).contains(CANARY));
}

#[tokio::test]
async fn what_can_be_mended_is_tried_slowly_and_what_passes_soon() {
    for (status, after) in
        [(400, Some(LONGEST_PAUSE)), (302, Some(LONGEST_PAUSE)), (500, None), (429, None), (408, None)]
    {
        let fake = serve(move |_| said(status, CANARY)).await;
        let answer = Call::post(fake.at("/"), "{}".into()).make(&web()).await.unwrap();
        assert_eq!(answer.accepted(), Err(Fault::Later(format!("the receiver answered {status}"), after)));
    }
}

#[test]
fn a_receiver_names_seconds_or_a_date() {
    let wish = |text: &str| {
        let now = At::new("2015-10-21T07:27:30Z".parse().unwrap());
        super::wish(&HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]), now)
    };
    assert_eq!(wish("17"), Some(Duration::from_secs(17)));
    assert_eq!(wish("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(30)));
    assert_eq!(wish("soon"), None);
}

#[test]
fn a_token_that_no_header_can_carry_is_not_repeated() {
    let call = Call::post("http://127.0.0.1/".parse().unwrap(), String::new());
    let Err(why) = call.bearer(&format!("{CANARY}\n")) else { panic!("taken") };
    assert_eq!(why, "the token has characters a header cannot carry");
}
