//! Requests repeated until they arrive for long enough.

use inferometer_core::Request;
use inferometer_engine::VirtualRequest;
use inferometer_sim::engine::Content;

/// The requests repeated `passes` times, for their arrivals.
pub(super) fn repeated(requests: &[Request], passes: usize) -> Vec<Request> {
    // Only the place in a conversation matters here, so the prompts need not be copied.
    let bare = requests.iter().map(|request| Request {
        session: request.session.clone(),
        ..Request::default()
    });
    let bare: Vec<Request> = bare.collect();
    std::iter::repeat_n(bare, passes).flatten().collect()
}

/// The requests repeated `passes` times. Each pass has different tokens, so that the prefix cache hits
/// within a pass as it would without repetition, and never across passes.
pub(super) fn repeated_for_engine(
    requests: &[VirtualRequest],
    passes: usize,
) -> Vec<VirtualRequest> {
    let mut all = Vec::with_capacity(requests.len() * passes);
    for pass in 0..passes {
        let salt = (pass as u32).wrapping_mul(0x9e37_79b1);
        for request in requests {
            let mut copy = request.clone();
            copy.engine.id = all.len() as u64;
            // Each pass has conversations of its own.
            copy.engine.conversation = copy
                .engine
                .conversation
                .map(|session| session + (pass * requests.len()) as u64);
            if let Content::Tokens(tokens) = &mut copy.engine.prompt {
                salted(tokens, salt);
            }
            salted(&mut copy.engine.answer, salt);
            all.push(copy);
        }
    }
    all
}

fn salted(tokens: &mut [u32], salt: u32) {
    for token in tokens {
        *token ^= salt;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_requests_share_tokens_within_a_pass_and_not_between_passes() {
        let request = |tokens: &[u32]| VirtualRequest {
            engine: inferometer_sim::engine::EngineRequest::new(
                0,
                Content::Tokens(tokens.to_vec()),
                1,
            ),
            facts: inferometer_core::Record::default(),
            cancel_after: None,
            think: None,
        };
        let all = repeated_for_engine(&[request(&[1, 2]), request(&[1, 3])], 2);
        let tokens: Vec<_> = all
            .iter()
            .map(|one| match &one.engine.prompt {
                Content::Tokens(tokens) => tokens.clone(),
                Content::Unshared(_) => Vec::new(),
            })
            .collect();
        assert_eq!((&tokens[0], &tokens[1]), (&vec![1, 2], &vec![1, 3]));
        assert_eq!(tokens[2][0], tokens[3][0]);
        assert_ne!(tokens[2][0], tokens[0][0]);
        assert_eq!(
            all.iter().map(|one| one.engine.id).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
    }
}
