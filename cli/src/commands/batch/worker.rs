//! The batch, on a thread of its own: reading long prompts takes it many seconds from one event to the next, and Ctrl-C should
//! not have to wait for that.

use crate::failure::{Exit, Failure, Result};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;
use tern::{Batch, Error, Event, GenerateOptions};

/// A prompt's number, counted from 0, and what happened to it.
pub type Happened = (usize, std::result::Result<Event, Error>);

type Request = (Vec<u32>, GenerateOptions);

/// Works until it is dropped and what is under way has ended; where the program ends before, its end ends it.
pub struct Worker {
    requests: Sender<Request>,
    events: Receiver<Happened>,
    added: usize,
}

impl Worker {
    pub fn new(batch: Batch) -> Self {
        let (requests, incoming) = channel();
        let (outgoing, events) = channel();
        std::thread::spawn(move || work(batch, &incoming, &outgoing));
        Self { requests, events, added: 0 }
    }

    /// Adds a prompt; returns its number.
    pub fn add(&mut self, tokens: Vec<u32>, options: GenerateOptions) -> Result<usize> {
        self.requests.send((tokens, options)).map_err(|_| gone())?;
        self.added += 1;
        Ok(self.added - 1)
    }

    /// What happens next, if it happens soon.
    pub fn event(&self, patience: Duration) -> Result<Option<Happened>> {
        match self.events.recv_timeout(patience) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

fn gone() -> Failure {
    Failure::new(Exit::Failure, "internal error: the batch ended early; please report it")
}

/// Numbers are the batch's own: it counts as [`Worker::add`] does.
fn work(mut batch: Batch, requests: &Receiver<Request>, events: &Sender<Happened>) {
    // Prompts whose end was not told yet: the batch itself no longer counts those whose last events wait in it.
    let mut open = 0_usize;
    loop {
        let request = match open {
            0 => requests.recv().map_err(|_| TryRecvError::Disconnected),
            _ => requests.try_recv(),
        };
        match request {
            Ok((tokens, options)) => {
                batch.add(tokens, options);
                open += 1;
                continue;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
        let Some(event) = batch.next() else { return };
        open = open.saturating_sub(usize::from(!matches!(event.1, Ok(Event::Token(_)))));
        if events.send(event).is_err() {
            return;
        }
    }
}
