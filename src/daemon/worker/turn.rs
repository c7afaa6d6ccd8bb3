//! A client's turn: what can be done for it without waiting.

use std::io;
use std::time::Instant;

use mio::Interest;

use super::Worker;
use super::clients::Progress;
use hospital_http::{Need, Rejection};

/// How many pipelined requests of one client are answered before the others have their turn.
const TURN: usize = 8;

impl Worker {
    /// Does for a client what can be done without waiting.
    pub(super) fn serve_client(&mut self, key: usize) -> io::Result<()> {
        let mut answers = 0;
        while let Some(client) = self.clients.get_mut(key) {
            let judged = match client.connection.need() {
                Need::Read => match client.read(&mut self.scratch) {
                    Progress::Done(0) => {
                        client.connection.end();
                        Ok(())
                    }
                    Progress::Done(count) => {
                        let bytes = &self.scratch[..count];
                        client.connection.receive(bytes, self.now, &mut self.reader, &self.patience)
                    }
                    Progress::Blocked => return self.clients.park(key, Interest::READABLE, self.poll.registry()),
                    Progress::Gone => {
                        client.connection.close();
                        Ok(())
                    }
                },
                Need::Answer if answers == TURN => {
                    self.again.push(key);
                    return Ok(());
                }
                Need::Answer => {
                    answers += 1;
                    if !self.answer(key) {
                        return Ok(());
                    }
                    continue;
                }
                Need::Write => match client.write() {
                    Progress::Done(count) => client.connection.sent(count, self.now, &mut self.reader, &self.patience),
                    Progress::Blocked => {
                        return self.clients.park(key, Interest::READABLE | Interest::WRITABLE, self.poll.registry());
                    }
                    Progress::Gone => {
                        client.connection.close();
                        Ok(())
                    }
                },
                Need::Shut => {
                    client.shut();
                    Ok(())
                }
                Need::Close => {
                    self.clients.remove(key);
                    return Ok(());
                }
            };
            if let Err(rejection) = judged {
                self.reject(key, rejection);
            }
        }
        Ok(())
    }

    /// Answers a client's request, or asks for the round that will. True if it is answered.
    fn answer(&mut self, key: usize) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        self.left = self.left.map(|left| left.saturating_sub(1));
        match self.responder.answer(&mut client.connection, self.now) {
            Some(wish) => {
                self.cache.ask(key, wish, self.now, Instant::now);
                false
            }
            None => true,
        }
    }

    /// Answers the clients whose round is over, and begins the next one. This is done at the end of the loop's turn,
    /// when all who have asked so far are known.
    pub(super) fn finish_rounds(&mut self) -> io::Result<()> {
        self.answer_askers()?;
        if self.cache.is_next_due() {
            if self.cache.next_can_block() {
                self.let_all_in()?;
            }
            self.cache.begin(self.now, Instant::now);
            // A round that cannot block is over by now.
            self.answer_askers()?;
        }
        Ok(())
    }

    fn answer_askers(&mut self) -> io::Result<()> {
        if self.cache.advance(self.now, Instant::now) {
            self.responder.note(self.cache.report());
        }
        while let Some(answer) = self.cache.next_answer() {
            let key = answer.key;
            if let Some(client) = self.clients.get_mut(key) {
                self.responder.report(&mut client.connection, &answer, self.now);
                self.serve_client(key)?;
            }
        }
        Ok(())
    }

    /// Clients that are waiting to be accepted when a round begins share it, unless another worker is free to take
    /// them: a crowd costs us the round that is running and the next one, however slowly we accept.
    fn let_all_in(&mut self) -> io::Result<()> {
        if self.scoreboard.is_another_free(self.slot) {
            return Ok(());
        }
        // Clients that came since we woke may have changed the files of checks before: a new time makes us look at
        // those again.
        self.now = Instant::now();
        self.let_waiting_in()
    }

    /// Accepts all that are waiting now, as far as there is room.
    pub(super) fn let_waiting_in(&mut self) -> io::Result<()> {
        for _ in self.clients.len()..self.door.most() {
            match self.door.accept_waiting() {
                Some(socket) => self.admit(socket)?,
                None => break,
            }
        }
        Ok(())
    }

    fn reject(&mut self, key: usize, rejection: Rejection) {
        if let Some(client) = self.clients.get_mut(key) {
            self.responder.reject(&mut client.connection, rejection, self.now);
        }
    }

    /// Gives up on the clients whose deadline has passed.
    pub(super) fn expire(&mut self) -> io::Result<()> {
        while let Some(key) = self.clients.next_expired(self.now) {
            let Some(client) = self.clients.get_mut(key) else { continue };
            if let Err(rejection) = client.connection.expire() {
                self.reject(key, rejection);
            }
            self.serve_client(key)?;
        }
        Ok(())
    }
}
